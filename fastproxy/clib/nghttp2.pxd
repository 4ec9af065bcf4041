# SPDX-License-Identifier: MIT
"""libnghttp2 (1.52 and newer): frames, HPACK, flow control of HTTP/2. What `_http2` calls of it."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef extern from "nghttp2/nghttp2.h" nogil:
    enum:
        NGHTTP2_ERR_DEFERRED
        NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        NGHTTP2_ERR_CALLBACK_FAILURE
        NGHTTP2_ERR_NOMEM
        NGHTTP2_ERR_PAUSE
        NGHTTP2_ERR_PROTO
        NGHTTP2_ERR_STREAM_CLOSED
        NGHTTP2_ERR_FLOODED
        NGHTTP2_ERR_TOO_MANY_CONTINUATIONS
        NGHTTP2_ERR_BAD_CLIENT_MAGIC
        NGHTTP2_CLIENT_MAGIC_LEN
        NGHTTP2_FLAG_NONE
        NGHTTP2_FLAG_END_STREAM
        NGHTTP2_FLAG_END_HEADERS
        NGHTTP2_FLAG_ACK
        NGHTTP2_DATA
        NGHTTP2_HEADERS
        NGHTTP2_PRIORITY
        NGHTTP2_RST_STREAM
        NGHTTP2_SETTINGS
        NGHTTP2_PING
        NGHTTP2_GOAWAY
        NGHTTP2_WINDOW_UPDATE
        NGHTTP2_CONTINUATION
        NGHTTP2_PRIORITY_UPDATE
        NGHTTP2_HCAT_REQUEST
        NGHTTP2_HCAT_RESPONSE
        NGHTTP2_HCAT_HEADERS
        NGHTTP2_NO_ERROR
        NGHTTP2_PROTOCOL_ERROR
        NGHTTP2_INTERNAL_ERROR
        NGHTTP2_STREAM_CLOSED
        NGHTTP2_REFUSED_STREAM
        NGHTTP2_CANCEL
        NGHTTP2_ENHANCE_YOUR_CALM
        NGHTTP2_HTTP_1_1_REQUIRED
        NGHTTP2_SETTINGS_HEADER_TABLE_SIZE
        NGHTTP2_SETTINGS_ENABLE_PUSH
        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        NGHTTP2_SETTINGS_MAX_FRAME_SIZE
        NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
        NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
        NGHTTP2_NV_FLAG_NONE
        NGHTTP2_NV_FLAG_NO_INDEX
        NGHTTP2_DATA_FLAG_NONE
        NGHTTP2_DATA_FLAG_EOF
        NGHTTP2_DATA_FLAG_NO_END_STREAM
        NGHTTP2_DATA_FLAG_NO_COPY

    ctypedef struct nghttp2_session:
        pass
    ctypedef struct nghttp2_session_callbacks:
        pass
    ctypedef struct nghttp2_option:
        pass
    ctypedef struct nghttp2_rcbuf:
        pass

    ctypedef struct nghttp2_vec:
        uint8_t *base
        size_t len
    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags
    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value
    ctypedef struct nghttp2_mem:
        void *mem_user_data
        void *(*malloc)(size_t, void *) noexcept
        void (*free)(void *, void *) noexcept
        void *(*calloc)(size_t, size_t, void *) noexcept
        void *(*realloc)(void *, size_t, void *) noexcept
    ctypedef struct nghttp2_info:
        int age
        int version_num
        const char *version_str

    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags
    ctypedef struct nghttp2_headers:
        nghttp2_frame_hd hd
        int cat
    ctypedef struct nghttp2_data:
        nghttp2_frame_hd hd
        size_t padlen
    ctypedef struct nghttp2_rst_stream:
        nghttp2_frame_hd hd
        uint32_t error_code
    ctypedef struct nghttp2_goaway:
        nghttp2_frame_hd hd
        int32_t last_stream_id
        uint32_t error_code
    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_data data
        nghttp2_headers headers
        nghttp2_rst_stream rst_stream
        nghttp2_goaway goaway

    ctypedef union nghttp2_data_source:
        int fd
        void *ptr
    ctypedef ssize_t (*nghttp2_data_source_read_callback)(
        nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *,
        void *) noexcept nogil
    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_data_source_read_callback read_callback

    ctypedef int (*nghttp2_on_frame_recv_callback)(
        nghttp2_session *, const nghttp2_frame *, void *) noexcept nogil
    ctypedef int (*nghttp2_on_data_chunk_recv_callback)(
        nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *) noexcept nogil
    ctypedef int (*nghttp2_on_stream_close_callback)(
        nghttp2_session *, int32_t, uint32_t, void *) noexcept nogil
    ctypedef int (*nghttp2_on_begin_headers_callback)(
        nghttp2_session *, const nghttp2_frame *, void *) noexcept nogil
    ctypedef int (*nghttp2_on_header_callback2)(
        nghttp2_session *, const nghttp2_frame *, nghttp2_rcbuf *, nghttp2_rcbuf *, uint8_t,
        void *) noexcept nogil
    ctypedef int (*nghttp2_on_invalid_frame_recv_callback)(
        nghttp2_session *, const nghttp2_frame *, int, void *) noexcept nogil
    ctypedef int (*nghttp2_on_begin_frame_callback)(
        nghttp2_session *, const nghttp2_frame_hd *, void *) noexcept nogil
    ctypedef int (*nghttp2_on_frame_send_callback)(
        nghttp2_session *, const nghttp2_frame *, void *) noexcept nogil
    ctypedef int (*nghttp2_send_data_callback)(
        nghttp2_session *, nghttp2_frame *, const uint8_t *, size_t, nghttp2_data_source *,
        void *) noexcept nogil

    nghttp2_vec nghttp2_rcbuf_get_buf(nghttp2_rcbuf *) noexcept
    void nghttp2_rcbuf_incref(nghttp2_rcbuf *) noexcept
    void nghttp2_rcbuf_decref(nghttp2_rcbuf *) noexcept

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **) noexcept
    void nghttp2_session_callbacks_set_on_frame_recv_callback(
        nghttp2_session_callbacks *, nghttp2_on_frame_recv_callback) noexcept
    void nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        nghttp2_session_callbacks *, nghttp2_on_invalid_frame_recv_callback) noexcept
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        nghttp2_session_callbacks *, nghttp2_on_data_chunk_recv_callback) noexcept
    void nghttp2_session_callbacks_set_on_stream_close_callback(
        nghttp2_session_callbacks *, nghttp2_on_stream_close_callback) noexcept
    void nghttp2_session_callbacks_set_on_begin_headers_callback(
        nghttp2_session_callbacks *, nghttp2_on_begin_headers_callback) noexcept
    void nghttp2_session_callbacks_set_on_header_callback2(
        nghttp2_session_callbacks *, nghttp2_on_header_callback2) noexcept
    void nghttp2_session_callbacks_set_on_invalid_header_callback2(
        nghttp2_session_callbacks *, nghttp2_on_header_callback2) noexcept
    void nghttp2_session_callbacks_set_on_begin_frame_callback(
        nghttp2_session_callbacks *, nghttp2_on_begin_frame_callback) noexcept
    void nghttp2_session_callbacks_set_on_frame_send_callback(
        nghttp2_session_callbacks *, nghttp2_on_frame_send_callback) noexcept
    void nghttp2_session_callbacks_set_send_data_callback(
        nghttp2_session_callbacks *, nghttp2_send_data_callback) noexcept

    int nghttp2_option_new(nghttp2_option **) noexcept
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int) noexcept
    void nghttp2_option_set_peer_max_concurrent_streams(nghttp2_option *, uint32_t) noexcept
    void nghttp2_option_set_max_send_header_block_length(nghttp2_option *, size_t) noexcept
    void nghttp2_option_set_no_closed_streams(nghttp2_option *, int) noexcept
    void nghttp2_option_set_max_outbound_ack(nghttp2_option *, size_t) noexcept
    void nghttp2_option_set_max_settings(nghttp2_option *, size_t) noexcept
    void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t) noexcept
    void nghttp2_option_set_max_continuations(nghttp2_option *, size_t) noexcept
    void nghttp2_option_set_server_fallback_rfc7540_priorities(nghttp2_option *, int) noexcept
    void nghttp2_option_set_user_recv_extension_type(nghttp2_option *, uint8_t) noexcept
    void nghttp2_option_set_builtin_recv_extension_type(nghttp2_option *, uint8_t) noexcept

    int nghttp2_session_server_new3(
        nghttp2_session **, const nghttp2_session_callbacks *, void *, const nghttp2_option *,
        nghttp2_mem *) noexcept
    int nghttp2_session_client_new3(
        nghttp2_session **, const nghttp2_session_callbacks *, void *, const nghttp2_option *,
        nghttp2_mem *) noexcept
    void nghttp2_session_del(nghttp2_session *) noexcept
    ssize_t nghttp2_session_mem_send(nghttp2_session *, const uint8_t **) noexcept
    ssize_t nghttp2_session_mem_recv(nghttp2_session *, const uint8_t *, size_t) noexcept
    int nghttp2_session_resume_data(nghttp2_session *, int32_t) noexcept
    int nghttp2_session_want_read(nghttp2_session *) noexcept
    int nghttp2_session_want_write(nghttp2_session *) noexcept
    void *nghttp2_session_get_stream_user_data(nghttp2_session *, int32_t) noexcept
    int nghttp2_session_set_stream_user_data(nghttp2_session *, int32_t, void *) noexcept
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session *, int) noexcept
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session *) noexcept
    int32_t nghttp2_session_get_next_stream_id(nghttp2_session *) noexcept
    int nghttp2_session_terminate_session(nghttp2_session *, uint32_t) noexcept
    int nghttp2_session_terminate_session2(nghttp2_session *, int32_t, uint32_t) noexcept
    int nghttp2_session_consume(nghttp2_session *, int32_t, size_t) noexcept
    int nghttp2_session_consume_connection(nghttp2_session *, size_t) noexcept
    int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t, int32_t, int32_t) noexcept
    int32_t nghttp2_session_get_stream_local_window_size(nghttp2_session *, int32_t) noexcept
    int32_t nghttp2_session_get_stream_remote_window_size(nghttp2_session *, int32_t) noexcept
    int32_t nghttp2_session_get_remote_window_size(nghttp2_session *) noexcept

    int nghttp2_submit_settings(
        nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t) noexcept
    int nghttp2_submit_shutdown_notice(nghttp2_session *) noexcept
    int nghttp2_submit_goaway(
        nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t) noexcept
    int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t, int32_t, uint32_t) noexcept
    int nghttp2_submit_ping(nghttp2_session *, uint8_t, const uint8_t *) noexcept
    int nghttp2_submit_response(
        nghttp2_session *, int32_t, const nghttp2_nv *, size_t,
        const nghttp2_data_provider *) noexcept
    int32_t nghttp2_submit_request(
        nghttp2_session *, const void *, const nghttp2_nv *, size_t,
        const nghttp2_data_provider *, void *) noexcept
    int32_t nghttp2_submit_headers(
        nghttp2_session *, uint8_t, int32_t, const void *, const nghttp2_nv *, size_t,
        void *) noexcept
    int nghttp2_submit_trailer(nghttp2_session *, int32_t, const nghttp2_nv *, size_t) noexcept
    const nghttp2_info *nghttp2_version(int) noexcept
