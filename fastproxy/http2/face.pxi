# SPDX-License-Identifier: MIT
# The Python face: hang it on an engine.

cdef CarrierPlug PLUG


cdef void plug_fill() noexcept nogil:
    """The plugs; at import, before any engine."""
    PLUG.accept = carrier_accept
    PLUG.connect = carrier_connect
    PLUG.stream = carrier_stream
    PLUG.pump = carrier_pump
    PLUG.flush = carrier_flush
    PLUG.timeout = carrier_timeout
    PLUG.drain = carrier_drain
    PLUG.free = carrier_free
    HTTP2_STREAM.read = stream_read
    HTTP2_STREAM.write = stream_write
    HTTP2_STREAM.finish = stream_finish
    HTTP2_STREAM.close = stream_close
    HTTP2_STREAM.handshake = NULL
    HTTP2_STREAM.refused = stream_refused
    HTTP2_STREAM.unsent = stream_unsent
    HTTP2_STREAM.unasked = stream_unasked
    HTTP2_STREAM.reset = stream_shall_reset


plug_fill()


cdef nghttp2_session_callbacks *callbacks_make(bint server) except NULL:
    cdef nghttp2_session_callbacks *to
    if nghttp2_session_callbacks_new(&to) != 0:
        raise MemoryError
    nghttp2_session_callbacks_set_on_begin_frame_callback(to, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(to, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback2(to, on_header)
    nghttp2_session_callbacks_set_on_invalid_header_callback2(to, on_invalid_header)
    nghttp2_session_callbacks_set_on_frame_recv_callback(to, on_frame_recv)
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(to, on_invalid_frame)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, on_data_chunk)
    nghttp2_session_callbacks_set_on_stream_close_callback(to, on_stream_close)
    nghttp2_session_callbacks_set_on_frame_send_callback(to, on_frame_send)
    nghttp2_session_callbacks_set_send_data_callback(to, send_body)
    return to


def attach(WorkerEngine engine):
    """From now on this engine understands HTTP/2 where its plan says so. Worker only, once."""
    cdef Room *room = <Room *> calloc(1, sizeof(Room))
    if room == NULL:
        raise MemoryError
    room.text = <char *> malloc(BUILD_BYTES)
    room.send = <char *> malloc(SEND_ROOM)
    if room.text == NULL or room.send == NULL:
        raise MemoryError
    if nghttp2_option_new(&room.options) != 0:
        raise MemoryError
    room.server = callbacks_make(True)
    room.client = callbacks_make(False)
    room.memory.mem_user_data = &room.heap
    room.memory.malloc = heap_malloc
    room.memory.free = heap_free
    room.memory.calloc = heap_calloc
    room.memory.realloc = heap_realloc
    nghttp2_option_set_no_auto_window_update(room.options, 1)
    nghttp2_option_set_max_continuations(room.options, CONTINUATIONS_MAX)
    nghttp2_option_set_max_settings(room.options, SETTINGS_ENTRIES_MAX)
    nghttp2_option_set_max_outbound_ack(room.options, ACKS_MAX)
    nghttp2_option_set_no_closed_streams(room.options, 1)
    # Resets are counted here, with all the other glitches.
    nghttp2_option_set_stream_reset_rate_limit(room.options, 1 << 30, 1 << 20)
    nghttp2_option_set_max_send_header_block_length(room.options, 4 * HEAD_BYTES_MAX)
    # nghttp2 reads PRIORITY_UPDATE itself, and with it whose turn it is (RFC 9218).
    nghttp2_option_set_builtin_recv_extension_type(room.options, NGHTTP2_PRIORITY_UPDATE)
    room.limits.line_bytes = room.limits.field_bytes = room.limits.fields_bytes = HEAD_BYTES_MAX
    room.limits.fields_max = HEAD_FIELDS_MAX
    engine.eng.http2_room = room
    engine.eng.http2 = &PLUG


def version():
    """Of libnghttp2, as text."""
    return nghttp2_version(0).version_str.decode()
