# SPDX-License-Identifier: MIT
# The ClientHello: which host is meant, which protocol, which staple. All of it is called by libssl
# inside SSL_do_handshake.

cdef const TlsHost *host_find(const TlsListener *listener, Span name) noexcept nogil:
    """The host of this name (lower case): by the whole of it, else by a wildcard for its first
    label (RFC 9525 6.3); NULL: no certificate has it."""
    cdef char room[256]
    cdef const TlsName *found = name_find(&listener.names, name)
    cdef const char *dot
    cdef size_t rest
    if found == NULL and name.len != 0:
        dot = <const char *> memchr(name.ptr, c'.', name.len)
        if dot == NULL or dot == name.ptr:
            return NULL
        rest = name.len - <size_t> (dot - name.ptr)
        if rest + 1 > sizeof(room):
            return NULL
        room[0] = c'*'
        memcpy(room + 1, dot, rest)
        found = name_find(&listener.names, span(room, rest + 1))
    return &listener.hosts[found.number] if found != NULL else NULL


cdef uint32_t rule_find(const TlsListener *listener, Span name) noexcept nogil:
    """The rule (TlsHost.rule) of this name: its own, else that of the longest wildcard above it,
    however far: what a route takes for a name's (route/match.pxd) must be what its rule guards."""
    cdef const TlsName *found = name_find(&listener.ruled, name)
    cdef Span rest = name
    cdef const char *dot
    while found == NULL and rest.len != 0:
        dot = <const char *> memchr(rest.ptr, c'.', rest.len)
        if dot == NULL:
            break
        rest = span(dot, rest.len - <size_t> (dot - rest.ptr))
        found = name_find(&listener.ruled, rest)
        rest = span(dot + 1, rest.len - 1)
    return found.number if found != NULL else listener.rule


cdef const TlsName *name_find(const TlsNames *names, Span name) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = names.count
    cdef uint32_t middle
    cdef const TlsName *at
    cdef int order
    while low < high:
        middle = (low + high) // 2
        at = &names.items[middle]
        order = <int> at.len - <int> name.len
        if order == 0:
            order = memcmp(at.text, name.ptr, name.len)
        if order == 0:
            return at
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return NULL


cdef bint hello_name(SSL *ssl, char *room, Span *name) noexcept nogil:
    """The server name, lower case, in `room` (256 bytes); empty: none. False: malformed (RFC 6066
    3: a list of one host_name)."""
    cdef const unsigned char *ext
    cdef size_t size, i, length
    name[0] = span(room, 0)
    if not SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &size):
        return True
    if size < 5 or (<size_t> ext[0] << 8 | ext[1]) != size - 2 or ext[2] != 0:
        return False
    length = <size_t> ext[3] << 8 | ext[4]
    if length != size - 5 or length == 0 or length > 255:
        return False
    for i in range(length):
        if ext[5 + i] == 0:
            return False
        room[i] = ascii_lower(<char> ext[5 + i])
    if room[length - 1] == c'.':
        length -= 1
    name.len = length
    return True


cdef int on_client_hello(SSL *ssl, int *alert, void *arg) noexcept nogil:
    """Choose the host before anything else is decided: a session is looked for in its context, and
    never resumed in that of another (nginx's CVE-2025-23419)."""
    cdef TlsConn *tls = <TlsConn *> SSL_get_app_data(ssl)
    cdef const TlsHost *host
    cdef char room[256]
    cdef Span name
    if not hello_name(ssl, room, &name):
        alert[0] = SSL_AD_DECODE_ERROR
        return SSL_CLIENT_HELLO_ERROR
    host = host_find(tls.listener, name)
    if host == NULL:
        if tls.listener.refuse:
            alert[0] = SSL_AD_UNRECOGNIZED_NAME
            tls.flags |= TLS_UNNAMED
            return SSL_CLIENT_HELLO_ERROR
        host = &tls.listener.hosts[tls.listener.others[rule_find(tls.listener, name)]]
    if host != tls.host:
        tls.host = host
        if SSL_set_SSL_CTX(ssl, host.context) == NULL:
            alert[0] = SSL_AD_INTERNAL_ERROR
            return SSL_CLIENT_HELLO_ERROR
        # What SSL_set_SSL_CTX leaves as it was.
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(host.context), NULL)
        SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(host.context))
    if not ticket_purpose(tls, name):
        alert[0] = SSL_AD_INTERNAL_ERROR
        return SSL_CLIENT_HELLO_ERROR
    return SSL_CLIENT_HELLO_SUCCESS


cdef int on_server_name(SSL *ssl, int *alert, void *arg) noexcept nogil:
    """It was seen to above; this is what makes libssl say so, and keep it with the session."""
    return SSL_TLSEXT_ERR_OK


cdef int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                 const unsigned char *offered, unsigned int size, void *arg) noexcept nogil:
    """h2 if it may be, else http/1.1; nothing in common ends the handshake (RFC 7301 3.2)."""
    cdef TlsConn *tls = <TlsConn *> SSL_get_app_data(ssl)
    cdef unsigned int at = 0
    cdef const unsigned char *http1 = NULL
    while at < size:
        if offered[at] == 2 and memcmp(offered + at + 1, b"h2", 2) == 0:
            if tls.listener.http2 and tls.keys.room.eng.http2:
                out[0] = offered + at + 1
                out_len[0] = 2
                return SSL_TLSEXT_ERR_OK
        elif offered[at] == 8 and memcmp(offered + at + 1, b"http/1.1", 8) == 0:
            http1 = offered + at + 1
        at += 1 + offered[at]
    if http1 == NULL:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    out[0] = http1
    out_len[0] = 8
    return SSL_TLSEXT_ERR_OK


cdef int on_status(SSL *ssl, void *arg) noexcept nogil:
    """OCSP: the staple of the certificate that was chosen, while it is good: with an old one many
    clients leave, without any nearly none."""
    cdef TlsConn *tls = <TlsConn *> SSL_get_app_data(ssl)
    cdef X509 *leaf = SSL_get_certificate(ssl)
    cdef const TlsPair *pair
    cdef unsigned char *copy
    cdef uint32_t i
    for i in range(tls.host.pair_count):
        pair = &tls.host.pairs[i]
        if pair.leaf != leaf or pair.ocsp == NULL:
            continue
        if pair.ocsp_until != 0 and pair.ocsp_until < tls.keys.room.eng.wall_sec:
            break
        copy = <unsigned char *> OPENSSL_malloc(pair.ocsp_len)
        if copy == NULL:
            break
        memcpy(copy, pair.ocsp, pair.ocsp_len)
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, pair.ocsp_len)
        return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_NOACK


cdef void on_message(int writing, int version, int kind, const void *data, size_t size, SSL *ssl,
                     void *arg) noexcept nogil:
    """Messages of a handshake when it is long over: KeyUpdate, and tickets of a backend. Too many
    in a second end the connection, and so does an attempt to negotiate anew (B3 44)."""
    cdef TlsConn *tls
    cdef uint64_t now
    if kind != SSL3_RT_HANDSHAKE and kind != SSL3_RT_ALERT:
        return
    tls = <TlsConn *> SSL_get_app_data(ssl)
    if not tls.flags & TLS_UP:
        return
    if writing:
        if (kind == SSL3_RT_ALERT and size == 2
                and (<const unsigned char *> data)[1] == SSL_AD_NO_RENEGOTIATION):
            flood_end(tls)
        return
    now = tls.keys.room.eng.now_ms
    if now - tls.messages_ms >= 1000:
        tls.messages_ms = now
        tls.messages = 0
    tls.messages += 1
    if tls.messages > TLS_MESSAGES_MAX:
        flood_end(tls)


cdef inline void flood_end(TlsConn *tls) noexcept nogil:
    """libssl gets no more to read: from us (bio_read), or, where it has the socket itself, from
    nobody, as if the peer had said that this was all (read_trouble knows better)."""
    tls.flags |= TLS_FLOOD
    if tls.flags & TLS_SOCKET:
        SSL_set_shutdown(tls.ssl, SSL_RECEIVED_SHUTDOWN)
