# SPDX-License-Identifier: MIT
# What a peer's certificate says (TlsPlug.peer): for headers and logs. It was verified in the
# handshake, or there would be no connection.

cdef ssize_t plug_peer(Engine *eng, Connection *conn, int what, char *out,
                       size_t cap) noexcept nogil:
    """TlsPlug.peer."""
    cdef TlsConn *tls = tls_of(conn)
    cdef X509 *leaf
    if tls == NULL:
        return 0
    if what == PEER_VERSION:
        return put_c(SSL_get_version(tls.ssl), out, cap)
    if what == PEER_CIPHER:
        return put_c(SSL_CIPHER_get_name(SSL_get_current_cipher(tls.ssl)), out, cap)
    leaf = SSL_get0_peer_certificate(tls.ssl)
    if leaf == NULL:
        return 0
    if what == PEER_DER:
        return peer_der(leaf, out, cap)
    if what == PEER_CHAIN_DER:
        return peer_chain(tls.ssl, out, cap)
    if what == PEER_SUBJECT:
        return peer_subject(leaf, out, cap)
    if what == PEER_FINGERPRINT:
        return peer_fingerprint(leaf, out, cap)
    if what == PEER_URIS or what == PEER_DNS:
        return peer_names(leaf, GEN_URI if what == PEER_URIS else GEN_DNS, out, cap)
    return 0


cdef inline ssize_t put_c(const char *text, char *out, size_t cap) noexcept nogil:
    cdef size_t length = strlen(text)
    if length > cap:
        return -1
    memcpy(out, text, length)
    return <ssize_t> length


cdef ssize_t peer_der(X509 *one, char *out, size_t cap) noexcept nogil:
    cdef unsigned char *at = <unsigned char *> out
    cdef int length = i2d_X509(one, NULL)
    if length <= 0:
        return 0
    if <size_t> length > cap:
        return -1
    return i2d_X509(one, &at)


cdef ssize_t peer_chain(SSL *ssl, char *out, size_t cap) noexcept nogil:
    """What it showed besides; to a server libssl gives it without the leaf. A resumed session has
    none any more."""
    cdef STACK_OF_X509 *chain = SSL_get_peer_cert_chain(ssl)
    cdef size_t at = 0
    cdef ssize_t length
    cdef uint32_t size
    cdef int i
    if chain == NULL:
        return 0
    for i in range(sk_X509_num(chain)):
        if cap - at < 4:
            return -1
        length = peer_der(sk_X509_value(chain, i), out + at + 4, cap - at - 4)
        if length < 0:
            return -1
        size = <uint32_t> length
        memcpy(out + at, &size, 4)
        at += 4 + <size_t> length
    return <ssize_t> at


cdef ssize_t peer_subject(X509 *leaf, char *out, size_t cap) noexcept nogil:
    cdef BIO *memory = BIO_new(BIO_s_mem())
    cdef int length = 0
    if memory == NULL:
        return 0
    if X509_NAME_print_ex(memory, X509_get_subject_name(leaf), 0, XN_FLAG_RFC2253) >= 0:
        length = BIO_read(memory, out, <int> cap)
        if length > 0 and BIO_pending(memory) != 0:
            length = -1
    BIO_free(memory)
    ERR_clear_error()
    return length if length != 0 else 0


cdef ssize_t peer_fingerprint(X509 *leaf, char *out, size_t cap) noexcept nogil:
    cdef unsigned char digest[32]
    cdef unsigned int length = 0
    cdef const char *digits = b"0123456789abcdef"
    cdef int i
    if X509_digest(leaf, EVP_sha256(), digest, &length) != 1 or length != 32:
        return 0
    if cap < 64:
        return -1
    for i in range(32):
        out[2 * i] = digits[digest[i] >> 4]
        out[2 * i + 1] = digits[digest[i] & 15]
    return 64


cdef ssize_t peer_names(X509 *leaf, int kind, char *out, size_t cap) noexcept nogil:
    """SANs of a kind, a line each; one with a control character in it is left out."""
    cdef GENERAL_NAMES *names = <GENERAL_NAMES *> X509_get_ext_d2i(
        leaf, NID_subject_alt_name, NULL, NULL)
    cdef size_t at = 0
    cdef int i, found, length
    cdef const ASN1_STRING *text
    if names == NULL:
        ERR_clear_error()
        return 0
    for i in range(sk_GENERAL_NAME_num(names)):
        text = <const ASN1_STRING *> GENERAL_NAME_get0_value(
            sk_GENERAL_NAME_value(names, i), &found)
        if found != kind:
            continue
        length = ASN1_STRING_length(text)
        if not printable(ASN1_STRING_get0_data(text), length):
            continue
        if <size_t> length + 1 > cap - at:
            GENERAL_NAMES_free(names)
            return -1
        memcpy(out + at, ASN1_STRING_get0_data(text), <size_t> length)
        at += <size_t> length
        out[at] = c'\n'
        at += 1
    GENERAL_NAMES_free(names)
    return <ssize_t> at


cdef inline bint printable(const unsigned char *text, int length) noexcept nogil:
    cdef int i
    for i in range(length):
        if text[i] < 0x20 or text[i] > 0x7e:
            return False
    return True
