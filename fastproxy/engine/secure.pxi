# SPDX-License-Identifier: MIT
# What TLS means for HTTP: clients of a plain listener are sent on to https://, those of a TLS one
# are told to stay, and upstreams are told whose certificate a client has shown.

cdef enum:
    # A client's certificate, or those above it, as DER. They lie at the end of the room in which
    # the head is built until they are written into it.
    CERT_BYTES_MAX = 32768

cdef extern from * nogil:
    """
    static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    """
    const char BASE64[]


# ---- to https:// ----------------------------------------------------------------------------

cdef bint sent_to_https(Exchange *x, const Request *request) noexcept nogil:
    """Does this plain listener send the request on? Not what proves to an authority who we are, nor
    what a trusted proxy says has come by https:// to it."""
    cdef const Head *head = request.head
    if listener_row(x).https_port == 0 or x.flags & X_SECURE or request.path.ptr[0] == c'*':
        return False
    if x.flags & X_TRUSTED and has_field(head, FIELD_X_FORWARDED_PROTO) and lower_is(
            value_of(head, &head.fields[head.last[<int> FIELD_X_FORWARDED_PROTO]]), b"https", 5):
        return False
    return request.path.len < 28 or memcmp(
        request.path.ptr, b"/.well-known/acme-challenge/", 28) != 0


cdef void answer_https(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """308 to the same resource by https://. Ends the exchange."""
    cdef Out fields = out_over(eng.build, ANSWER_VALUE_MAX)
    cdef uint16_t port = listener_row(x).https_port
    request_id_choose(eng, x, request.head)
    end_state(x, b"L", b"-")
    if request.host.len == 0:
        exchange_fail(eng, x, 400, b"without a Host there is no https:// to go to")
        return
    put_text(&fields, b"Location: https://")
    put_span(&fields, request.host)
    if port != 443:
        put_char(&fields, c':')
        put_uint(&fields, port)
    put_span(&fields, request.path)
    if request.parts.has_query:
        put_char(&fields, c'?')
        put_span(&fields, request.query)
    put(&fields, b"\r\n", 2)
    if fields.full:
        exchange_fail(eng, x, 414, b"the target is too long")
        return
    x.status = 308
    x.flags |= X_ANSWER_BEGUN
    answer_send(eng, x, 308, span(fields.ptr, fields.len), span(NULL, 0))
    if x.state != EXCHANGE_FINISHED:
        exchange_finish(eng, x)


cdef inline bint says_hsts(const Exchange *x) noexcept nogil:
    """Is Strict-Transport-Security this listener's to say? Never in plain text (RFC 6797 7.2)."""
    return x.flags & X_SECURE != 0 and listener_row(x).hsts.len != 0


cdef void put_hsts(Exchange *x, Out *out) noexcept nogil:
    """Unless the route says otherwise."""
    cdef const EditList *edits = NULL
    if x.rewrite != NULL and x.rewrite.response.edits.count != 0:
        edits = &x.rewrite.response
    if ours(x, edits, FIELD_STRICT_TRANSPORT_SECURITY, b"Strict-Transport-Security"):
        put_line(out, b"Strict-Transport-Security", text_span(x.plan.base, listener_row(x).hsts))


# ---- whose certificate ----------------------------------------------------------------------

cdef Span client_cert(Engine *eng, Exchange *x, Out *out) noexcept nogil:
    """The client's certificate at the end of this room, if upstreams are to be told of it."""
    cdef char *room = out.ptr + out.cap - CERT_BYTES_MAX
    cdef ssize_t length = 0
    if (listener_row(x).client_cert != CLIENT_CERT_OFF and x.client != NULL
            and x.flags & X_SECURE and eng.tls != NULL):
        length = eng.tls.peer(eng, x.client, PEER_DER, room, CERT_BYTES_MAX)
    if length < 0:
        out.full = True
    return span(room, <size_t> length if length > 0 else 0)


cdef void put_client_cert(Engine *eng, Exchange *x, const Head *head, Span cert,
                          const EditList *edits, Out *out) noexcept nogil:
    """Client-Cert (RFC 9440), or X-Forwarded-Client-Cert as Envoy writes it. `cert`: from
    client_cert, and still untouched."""
    if out.len > out.cap - CERT_BYTES_MAX:
        out.full = True
        return
    if listener_row(x).client_cert == CLIENT_CERT_XFCC:
        if ours(x, edits, FIELD_X_FORWARDED_CLIENT_CERT, b"X-Forwarded-Client-Cert"):
            put_xfcc(eng, x, head, out)
        return
    if ours(x, edits, FIELD_CLIENT_CERT, b"Client-Cert"):
        put(out, b"Client-Cert: ", 13)
        put_binary(out, cert)
        put(out, b"\r\n", 2)
    if ours(x, edits, FIELD_CLIENT_CERT_CHAIN, b"Client-Cert-Chain"):
        put_cert_chain(eng, x, out)


cdef void put_cert_chain(Engine *eng, Exchange *x, Out *out) noexcept nogil:
    """Those that the client showed above its own. A resumed session knows them no more."""
    cdef char *room = out.ptr + out.cap - CERT_BYTES_MAX
    cdef ssize_t length = eng.tls.peer(eng, x.client, PEER_CHAIN_DER, room, CERT_BYTES_MAX)
    cdef ssize_t at = 0
    cdef uint32_t size = 0
    if length <= 0:
        out.full = out.full or length < 0
        return
    put_text(out, b"Client-Cert-Chain: ")
    while at + 4 <= length:
        memcpy(&size, room + at, 4)
        if at != 0:
            put(out, b", ", 2)
        put_binary(out, span(room + at + 4, size))
        at += 4 + <ssize_t> size
    put(out, b"\r\n", 2)


cdef void put_binary(Out *out, Span data) noexcept nogil:
    """A byte sequence of RFC 8941 3.3.5. `data` may lie at the end of the same room."""
    cdef const uint8_t *at = <const uint8_t *> data.ptr
    cdef size_t left = data.len
    cdef size_t size = (data.len + 2) // 3 * 4
    cdef char *to
    cdef uint32_t bits
    if out.len + size + 2 > out.cap - CERT_BYTES_MAX:
        out.full = True
        return
    put_char(out, c':')
    to = out.ptr + out.len
    while left > 0:
        bits = at[0] << 16 | (at[1] << 8 if left > 1 else 0) | (at[2] if left > 2 else 0)
        to[0] = BASE64[bits >> 18]
        to[1] = BASE64[bits >> 12 & 63]
        to[2] = BASE64[bits >> 6 & 63] if left > 1 else c'='
        to[3] = BASE64[bits & 63] if left > 2 else c'='
        to += 4
        at += 3
        left = left - 3 if left > 3 else 0
    out.len += size
    put_char(out, c':')


cdef void put_xfcc(Engine *eng, Exchange *x, const Head *head, Out *out) noexcept nogil:
    """One element, behind those of a trusted proxy: Hash, Subject, then every URI and DNS name."""
    put_text(out, b"X-Forwarded-Client-Cert: ")
    if x.flags & X_TRUSTED:
        put_joined(out, head, FIELD_X_FORWARDED_CLIENT_CERT)
    put(out, b"Hash=", 5)
    put_peer(eng, x, PEER_FINGERPRINT, out)
    put_text(out, b";Subject=\"")       # RFC 2253 has escaped quotes in it already
    put_peer(eng, x, PEER_SUBJECT, out)
    put_char(out, c'"')
    put_each(eng, x, PEER_URIS, b";URI=", out)
    put_each(eng, x, PEER_DNS, b";DNS=", out)
    put(out, b"\r\n", 2)


cdef void put_peer(Engine *eng, Exchange *x, int what, Out *out) noexcept nogil:
    cdef size_t room = out.cap - CERT_BYTES_MAX
    cdef ssize_t length = -1
    if out.len < room:
        length = eng.tls.peer(eng, x.client, what, out.ptr + out.len, room - out.len)
    if length < 0:
        out.full = True
        return
    out.len += <size_t> length


cdef void put_each(Engine *eng, Exchange *x, int what, const char *before,
                   Out *out) noexcept nogil:
    """A name each, in quotes where it could end the element."""
    cdef char *room = out.ptr + out.cap - CERT_BYTES_MAX
    cdef ssize_t length = eng.tls.peer(eng, x.client, what, room, CERT_BYTES_MAX)
    cdef const char *end
    cdef Span rest, name
    cdef bint quoted
    cdef size_t i
    if length < 0:
        out.full = True
        return
    rest = span(room, <size_t> length)
    while rest.len > 0:
        end = <const char *> memchr(rest.ptr, c'\n', rest.len)
        name = span(rest.ptr, <size_t> (end - rest.ptr) if end != NULL else rest.len)
        rest = span(name.ptr + name.len + 1, rest.len - name.len - 1 if end != NULL else 0)
        if out.len + 2 * name.len + 16 > out.cap - CERT_BYTES_MAX:
            out.full = True
            return
        quoted = False
        for i in range(name.len):
            quoted = quoted or name.ptr[i] in (c',', c';', c'=', c'"', c'\\', c' ')
        put_text(out, before)
        put_quoted(out, name, quoted)


cdef inline void put_quoted(Out *out, Span text, bint quoted) noexcept nogil:
    cdef size_t i
    if not quoted:
        put_span(out, text)
        return
    put_char(out, c'"')
    for i in range(text.len):
        if text.ptr[i] == c'"' or text.ptr[i] == c'\\':
            put_char(out, c'\\')
        put_char(out, text.ptr[i])
    put_char(out, c'"')
