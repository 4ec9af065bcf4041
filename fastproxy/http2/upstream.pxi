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
