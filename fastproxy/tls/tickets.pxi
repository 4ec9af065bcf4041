# SPDX-License-Identifier: MIT
# Session tickets of clients: sealed with keys that lie in the scoreboard, so that every worker
# opens what another one made, and a worker's death takes no session with it.

cdef bint tickets_refresh(Engine *eng, TicketKeys *kept) noexcept nogil:
    """Copy the keys if others are in force by now. False: there are none."""
    cdef const TicketBoard *board = ticket_board(<BoardHeader *> eng.board)
    cdef uint64_t count = load64(&board.count)
    cdef uint64_t slot
    cdef uint32_t used, i
    if count == kept.count:
        return kept.used != 0
    used = <uint32_t> count if count < TICKET_KEYS_KEPT else TICKET_KEYS_KEPT
    for i in range(used):
        slot = (count - 1 - i) % TICKET_RING
        memcpy(kept.keys[i], board.ring + slot * TICKET_KEY_BYTES, TICKET_KEY_BYTES)
    fence_all()
    if load64(&board.count) != count:
        return kept.used != 0   # it was rotated while we read: once more at the next ticket
    kept.count = count
    kept.used = used
    return used != 0


cdef int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                       EVP_MAC_CTX *mac, int sealing) noexcept nogil:
    """Set up the keys for a ticket: 1, 2 (good, but make a new one), 0 (unknown key: a whole
    handshake), -1."""
    cdef TlsRoom *room = (<TlsConn *> SSL_get_app_data(ssl)).keys.room
    cdef TicketKeys *keys = &room.tickets
    cdef uint8_t *key
    cdef uint32_t i = 0
    if not tickets_refresh(room.eng, keys):
        return 0
    if sealing:
        memcpy(name, keys.keys[0], 16)
        if RAND_bytes(iv, 16) != 1:
            return -1
        return 1 if ticket_arm(room, keys.keys[0], iv, cipher, mac, True) else -1
    while i < keys.used and memcmp(name, keys.keys[i], 16) != 0:
        i += 1
    if i == keys.used:
        return 0
    key = keys.keys[i]
    if not ticket_arm(room, key, iv, cipher, mac, False):
        return -1
    return 1 if i == 0 else 2


cdef bint ticket_arm(TlsRoom *room, uint8_t *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, bint sealing) noexcept nogil:
    cdef OSSL_PARAM params[3]
    params[0] = OSSL_PARAM_construct_octet_string(b"key", key + 16, 32)
    params[1] = OSSL_PARAM_construct_utf8_string(b"digest", <char *> b"sha256", 0)
    params[2] = OSSL_PARAM_construct_end()
    if EVP_MAC_CTX_set_params(mac, params) != 1:
        return False
    if sealing:
        return EVP_EncryptInit_ex(cipher, room.ticket_cipher, NULL, key + 48, iv) == 1
    return EVP_DecryptInit_ex(cipher, room.ticket_cipher, NULL, key + 48, iv) == 1


# ---- what a ticket is good for --------------------------------------------------------------
# Besides libssl's own look at the session context, a ticket carries what it was made for: virtual
# host and server name. The name counts in TLS 1.3, too, where RFC 8446 would let it differ.

cdef bint ticket_purpose(TlsConn *tls, Span name) noexcept nogil:
    """Work out what a session of this connection is for; `name`: the server name, lower case."""
    cdef char room[VHOST_BYTES + 256]
    memcpy(room, tls.host.vhost, VHOST_BYTES)
    if name.len != 0:
        memcpy(room + VHOST_BYTES, name.ptr, name.len)
    return EVP_Digest(room, VHOST_BYTES + name.len, tls.purpose, NULL, EVP_sha256(), NULL) == 1


cdef int on_ticket_made(SSL *ssl, void *arg) noexcept nogil:
    cdef TlsConn *tls = <TlsConn *> SSL_get_app_data(ssl)
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), tls.purpose, VHOST_BYTES)


cdef SSL_TICKET_RETURN on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                        size_t name_len, SSL_TICKET_STATUS status,
                                        void *arg) noexcept nogil:
    cdef TlsConn *tls = <TlsConn *> SSL_get_app_data(ssl)
    cdef X509 *peer
    cdef void *kept = NULL
    cdef size_t length = 0
    if status != SSL_TICKET_SUCCESS and status != SSL_TICKET_SUCCESS_RENEW:
        return SSL_TICKET_RETURN_IGNORE_RENEW
    if (SSL_SESSION_get0_ticket_appdata(session, &kept, &length) != 1 or length != VHOST_BYTES
            or memcmp(kept, tls.purpose, VHOST_BYTES) != 0):
        return SSL_TICKET_RETURN_IGNORE_RENEW
    # A session is no way around the end of the certificate that it was made with.
    peer = SSL_SESSION_get0_peer(session)
    if peer != NULL and X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0:
        return SSL_TICKET_RETURN_IGNORE_RENEW
    # In TLS 1.3 clients use a ticket once (RFC 8446 C.4): without a new one, every second
    # connection of theirs would be a whole handshake.
    if status == SSL_TICKET_SUCCESS_RENEW or SSL_version(ssl) == TLS1_3_VERSION:
        return SSL_TICKET_RETURN_USE_RENEW
    return SSL_TICKET_RETURN_USE
