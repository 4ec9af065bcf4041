# SPDX-License-Identifier: MIT
# Toward upstreams: a stream on a carrier that has room for one more.

cdef Connection *carrier_stream(Engine *eng, Connection *conn, bint upgrade) noexcept nogil:
    """CarrierPlug.stream."""
    cdef Session *s = <Session *> conn.carried
    cdef Stream *stream
    cdef uint32_t most
    if s == NULL or s.failed or s.going != 0:
        return NULL
    if upgrade and nghttp2_session_get_remote_settings(
            s.ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) != 1:
        return NULL
    if s.ready == 0 and s.count != 0:
        return NULL             # how many it takes at once is not known yet
    most = nghttp2_session_get_remote_settings(s.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
    if s.count >= most or s.count >= eng.plan.settings.http2_streams:
        return NULL
    stream = stream_make(s, 0)
    if stream == NULL:
        return NULL
    stream.conn = stream_open(eng, conn, &HTTP2_STREAM)
    if stream.conn == NULL:
        stream_free(eng, stream)
        return NULL
    stream.conn.carried = stream
    s.requests += 1
    if s.requests >= eng.plan.settings.upstream_requests:
        carrier_drain(eng, conn)
    return stream.conn


cdef void streams_unasked(Session *s) noexcept nogil:
    """A peer whose SETTINGS allow no stream at all, and one was about to be asked for before they
    came: nghttp2 would hold it back for ever. Nobody has looked at it, so it goes elsewhere."""
    cdef Stream *stream = s.streams
    cdef Stream *following
    if s.failed or nghttp2_session_get_remote_settings(
            s.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) != 0:
        return
    while stream != NULL:
        following = stream.next
        if stream.id != 0 and not stream.flags & STREAM_SENT_HEAD:
            nghttp2_session_set_stream_user_data(s.ng, stream.id, NULL)
            nghttp2_submit_rst_stream(s.ng, 0, stream.id, NGHTTP2_CANCEL)
            stream_end(stream, True)
        stream = following
