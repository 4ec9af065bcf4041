# SPDX-License-Identifier: MIT
# From a keyring to contexts: all of it is built, then swapped in; ValueError says what is wrong,
# and then nothing has changed. Python; runs when a worker starts and when keys change.

# Mozilla's intermediate configuration 5.7, to the letter; `modern` is TLS 1.3 alone.
# https://ssl-config.mozilla.org/guidelines/5.7.json
cdef const char *CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    b"DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305")
cdef const char *SUITES = (
    b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")
cdef const char *GROUPS = b"X25519:prime256v1:secp384r1"
SESSION_SECONDS = 86400         # ticket keys are current for 12 hours and taken for 24 more


cdef str _why():
    """What libcrypto complained of last."""
    cdef unsigned long code = ERR_peek_last_error()
    cdef const char *text = ERR_reason_error_string(code) if code else NULL
    ERR_clear_error()
    return text.decode() if text != NULL else "libssl gives no reason"


cdef int no_password(char *buf, int size, int writing, void *arg) noexcept nogil:
    return -1


cdef class _Pem:
    """Reads the objects of a PEM text, one after the other."""
    cdef BIO *bio
    cdef bytes text

    def __cinit__(self, bytes text):
        self.text = text
        self.bio = BIO_new_mem_buf(<const char *> text, <int> len(text))
        if self.bio == NULL:
            raise MemoryError

    def __dealloc__(self):
        BIO_free(self.bio)

    cdef bint over(self, str what) except -1:
        """There was no further one: is that the end of the text?"""
        cdef unsigned long code = ERR_peek_last_error()
        if ERR_GET_LIB(code) == ERR_LIB_PEM and ERR_GET_REASON(code) == PEM_R_NO_START_LINE:
            ERR_clear_error()
            return True
        raise ValueError(f"{what} cannot be read: {_why()}")

    cdef X509 *certificate(self) except? NULL:
        """The next one; NULL: that were all."""
        cdef X509 *found = PEM_read_bio_X509(self.bio, NULL, no_password, NULL)
        if found == NULL:
            self.over("a certificate")
        return found

    cdef X509_CRL *crl(self) except? NULL:
        cdef X509_CRL *found = PEM_read_bio_X509_CRL(self.bio, NULL, no_password, NULL)
        if found == NULL:
            self.over("a revocation list")
        return found


cdef EVP_PKEY *_key(bytes text) except NULL:
    cdef _Pem pem = _Pem(text)
    cdef EVP_PKEY *found = PEM_read_bio_PrivateKey(pem.bio, NULL, no_password, NULL)
    if found == NULL:
        raise ValueError(f"the key cannot be read: {_why()}")
    return found


cdef X509 *_use_pair(SSL_CTX *context, bytes chain, bytes key) except NULL:
    """Put a certificate, its chain and its key into a context; the certificate, which the caller
    must free."""
    cdef _Pem pem = _Pem(chain)
    cdef X509 *leaf = pem.certificate()
    cdef X509 *other
    cdef EVP_PKEY *private = NULL
    cdef long fine
    if leaf == NULL:
        raise ValueError("there is no certificate")
    try:
        private = _key(key)
        if SSL_CTX_use_cert_and_key(context, leaf, private, NULL, 1) != 1:
            raise ValueError(f"certificate and key cannot be used: {_why()}")
        while True:
            other = pem.certificate()
            if other == NULL:
                break
            fine = SSL_CTX_add1_chain_cert(context, other)
            X509_free(other)
            if fine != 1:
                raise ValueError(f"its chain cannot be used: {_why()}")
    except BaseException:
        X509_free(leaf)
        raise
    finally:
        EVP_PKEY_free(private)
    return leaf


cdef X509_STORE *_store(bytes ca, bytes crl) except NULL:
    """Trusted certificates, and what they have revoked. Each is believed as it is, an intermediate
    and a backend's own too; with revocation lists the way goes up to the root, so that none of
    those in between is passed over."""
    cdef X509_STORE *store = X509_STORE_new()
    cdef _Pem pem = _Pem(ca)
    cdef X509 *one
    cdef X509_CRL *revoked
    cdef int count = 0
    if store == NULL:
        raise MemoryError
    try:
        while True:
            one = pem.certificate()
            if one == NULL:
                break
            X509_STORE_add_cert(store, one)
            X509_free(one)
            count += 1
        if count == 0:
            raise ValueError("there is no certificate of an authority")
        if crl:
            pem = _Pem(crl)
            count = 0
            while True:
                revoked = pem.crl()
                if revoked == NULL:
                    break
                X509_STORE_add_crl(store, revoked)
                X509_CRL_free(revoked)
                count += 1
            if count == 0:
                raise ValueError("there is no revocation list")
            X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
        else:
            X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN)
    except BaseException:
        X509_STORE_free(store)
        raise
    return store


cdef SSL_CTX *_context(const SSL_METHOD *method, str profile) except NULL:
    """A context with what both sides share."""
    cdef SSL_CTX *context = SSL_CTX_new(method)
    if context == NULL:
        raise MemoryError
    # All ciphers are good, so our order only says what costs least: AES-128 first. A client without
    # AES in hardware begins with ChaCha20, and gets it.
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION
                        | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA)
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
    SSL_CTX_set_msg_callback(context, on_message)
    if (SSL_CTX_set_min_proto_version(
            context, TLS1_3_VERSION if profile == "modern" else TLS1_2_VERSION) != 1
            or SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1
            or SSL_CTX_set_cipher_list(context, CIPHERS) != 1
            or SSL_CTX_set_ciphersuites(context, SUITES) != 1
            or SSL_CTX_set1_groups_list(context, GROUPS) != 1):
        SSL_CTX_free(context)
        raise ValueError(f"this libssl cannot do what the profile asks for: {_why()}")
    return context


cdef int _set_dh(SSL_CTX *context) except -1:
    """The group of RFC 7919 that Mozilla names, for the DHE suites."""
    cdef EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_from_name(NULL, b"DH", NULL)
    cdef EVP_PKEY *group = NULL
    cdef OSSL_PARAM params[2]
    cdef bint fine
    params[0] = OSSL_PARAM_construct_utf8_string(b"group", <char *> b"ffdhe2048", 0)
    params[1] = OSSL_PARAM_construct_end()
    fine = (maker != NULL and EVP_PKEY_keygen_init(maker) == 1
            and EVP_PKEY_CTX_set_params(maker, params) == 1
            and EVP_PKEY_generate(maker, &group) == 1
            and SSL_CTX_set0_tmp_dh_pkey(context, group) == 1)
    EVP_PKEY_CTX_free(maker)
    if not fine:
        EVP_PKEY_free(group)
        raise ValueError(f"no group for DHE: {_why()}")
    return 0


cdef int _ask_clients(SSL_CTX *context, rule) except -1:
    """Ask clients for certificates by a ClientAuth."""
    cdef X509_STORE *store = _store(rule.ca, rule.crl)
    cdef _Pem pem = _Pem(rule.ca)
    cdef X509 *one
    cdef int mode = SSL_VERIFY_PEER
    SSL_CTX_set1_cert_store(context, store)
    X509_STORE_free(store)
    while True:
        one = pem.certificate()
        if one == NULL:
            break
        SSL_CTX_add_client_CA(context, one)
        X509_free(one)
    if rule.mode not in ("optional", "required"):
        raise ValueError(f"client_auth: {rule.mode!r} is no mode")
    if rule.mode == "required":
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    SSL_CTX_set_verify(context, mode, NULL)
    SSL_CTX_set_verify_depth(context, rule.depth)
    return 0


cdef int _set_sessions(SSL_CTX *context, spec, const TlsHost *host) except -1:
    """Sessions live in tickets alone, which every worker can open; one ticket a handshake: a
    client with one connection needs no more, and each costs as much as a small request."""
    SSL_CTX_set_session_id_context(context, host.vhost, VHOST_BYTES)
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF)
    SSL_CTX_set_timeout(context, SESSION_SECONDS)
    if not spec.tickets:
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET)
        SSL_CTX_set_num_tickets(context, 0)
        return 0
    SSL_CTX_set_num_tickets(context, 1)
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket_key)
    SSL_CTX_set_session_ticket_cb(context, on_ticket_made, on_ticket_opened, NULL)
    if spec.early_data:
        SSL_CTX_set_options(context, SSL_OP_NO_ANTI_REPLAY)
        SSL_CTX_set_max_early_data(context, spec.early_data)
        SSL_CTX_set_recv_max_early_data(context, spec.early_data)
    return 0


cdef int _build_host(TlsHost *host, spec, list pairs, rule) except -1:
    """Fill in a host whose `vhost` and `rule` are set. On ValueError the caller frees what is
    there."""
    cdef SSL_CTX *context = _context(TLS_server_method(), spec.profile)
    cdef TlsPair *pair
    cdef set kinds = set()
    cdef int kind
    cdef bytes ocsp
    host.context = context
    host.pairs = <TlsPair *> calloc(len(pairs), sizeof(TlsPair))
    if host.pairs == NULL:
        raise MemoryError
    for one in pairs:
        kind = _kind(one.chain)
        if kind in kinds:
            continue            # of each kind of key the first: libssl keeps one
        kinds.add(kind)
        pair = &host.pairs[host.pair_count]
        pair.leaf = _use_pair(context, one.chain, one.key)
        host.pair_count += 1
        ocsp = one.ocsp
        if ocsp:
            pair.ocsp = <unsigned char *> malloc(len(ocsp))
            if pair.ocsp == NULL:
                raise MemoryError
            memcpy(pair.ocsp, <const char *> ocsp, len(ocsp))
            pair.ocsp_len = <uint32_t> len(ocsp)
            pair.ocsp_until = one.ocsp_until
    if spec.profile != "modern":
        _set_dh(context)
    SSL_CTX_set_client_hello_cb(context, on_client_hello, NULL)
    SSL_CTX_set_tlsext_servername_callback(context, on_server_name)
    SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL)
    SSL_CTX_set_tlsext_status_cb(context, on_status)
    if rule is not None:
        _ask_clients(context, rule)
    if spec.ktls:
        SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS)
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE)
    _set_sessions(context, spec, host)
    return 0


cdef int _kind(bytes chain) except -1:
    """The kind of key of the first certificate."""
    cdef X509 *leaf = (<_Pem> _Pem(chain)).certificate()
    cdef int kind
    if leaf == NULL:
        raise ValueError("there is no certificate")
    kind = EVP_PKEY_get_id(X509_get0_pubkey(leaf))
    X509_free(leaf)
    return kind
