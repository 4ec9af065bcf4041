# SPDX-License-Identifier: MIT
"""libssl and libcrypto 3, as their headers declare them. Extern only; OpenSSL 3.0 has all of it."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "<openssl/bio.h>" nogil:
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    BIO_METHOD *BIO_meth_new(int kind, const char *name) noexcept
    int BIO_meth_set_read(BIO_METHOD *, int (*)(BIO *, char *, int) noexcept nogil) noexcept
    int BIO_meth_set_write(BIO_METHOD *, int (*)(BIO *, const char *, int) noexcept nogil) noexcept
    int BIO_meth_set_ctrl(BIO_METHOD *, long (*)(BIO *, int, long, void *) noexcept nogil) noexcept
    BIO *BIO_new(const BIO_METHOD *) noexcept
    BIO *BIO_new_mem_buf(const void *, int) noexcept
    int BIO_free(BIO *) noexcept
    void BIO_set_data(BIO *, void *) noexcept
    void *BIO_get_data(BIO *) noexcept
    void BIO_set_init(BIO *, int) noexcept
    void BIO_set_retry_read(BIO *) noexcept
    void BIO_clear_retry_flags(BIO *) noexcept
    int BIO_get_new_index() noexcept
    int BIO_CTRL_FLUSH, BIO_CTRL_EOF, BIO_TYPE_SOURCE_SINK
    # Whether the kernel does the records' work (kTLS); only a socket BIO can.
    bint BIO_get_ktls_send(BIO *) noexcept
    bint BIO_get_ktls_recv(BIO *) noexcept

cdef extern from "<openssl/err.h>" nogil:
    void ERR_clear_error() noexcept
    unsigned long ERR_peek_error() noexcept
    unsigned long ERR_peek_last_error() noexcept
    void ERR_error_string_n(unsigned long, char *, size_t) noexcept
    const char *ERR_reason_error_string(unsigned long) noexcept
    int ERR_GET_REASON(unsigned long) noexcept
    int ERR_GET_LIB(unsigned long) noexcept
    int ERR_LIB_PEM, PEM_R_NO_START_LINE
    int ERR_LIB_SSL, SSL_R_HTTP_REQUEST

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct ENGINE:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct OSSL_PARAM:
        pass
    ctypedef struct EVP_PKEY_CTX:
        pass
    void EVP_PKEY_free(EVP_PKEY *) noexcept
    int EVP_PKEY_get_id(const EVP_PKEY *) noexcept
    EVP_PKEY_CTX *EVP_PKEY_CTX_new_from_name(void *, const char *, const char *) noexcept
    void EVP_PKEY_CTX_free(EVP_PKEY_CTX *) noexcept
    int EVP_PKEY_keygen_init(EVP_PKEY_CTX *) noexcept
    int EVP_PKEY_CTX_set_params(EVP_PKEY_CTX *, const OSSL_PARAM *) noexcept
    int EVP_PKEY_generate(EVP_PKEY_CTX *, EVP_PKEY **) noexcept
    EVP_CIPHER *EVP_CIPHER_fetch(void *, const char *, const char *) noexcept
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, ENGINE *,
                           const unsigned char *, const unsigned char *) noexcept
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, ENGINE *,
                           const unsigned char *, const unsigned char *) noexcept
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX *, const OSSL_PARAM *) noexcept
    const EVP_MD *EVP_sha256() noexcept
    int EVP_Digest(const void *, size_t, unsigned char *, unsigned int *, const EVP_MD *,
                   ENGINE *) noexcept
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char *, void *, size_t) noexcept
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char *, char *, size_t) noexcept
    OSSL_PARAM OSSL_PARAM_construct_end() noexcept

cdef extern from "<openssl/rand.h>" nogil:
    int RAND_bytes(unsigned char *, int) noexcept

cdef extern from "<openssl/crypto.h>" nogil:
    void *OPENSSL_malloc(size_t) noexcept
    void OPENSSL_free(void *) noexcept
    void OPENSSL_cleanse(void *, size_t) noexcept
    const char *OpenSSL_version(int) noexcept
    int OPENSSL_VERSION

cdef extern from "<openssl/x509v3.h>" nogil:
    ctypedef struct X509:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct X509_CRL:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    ctypedef struct GENERAL_NAMES "GENERAL_NAMES":
        pass
    ctypedef struct GENERAL_NAME:
        pass
    ctypedef struct ASN1_STRING:
        pass
    ctypedef struct STACK_OF_X509 "STACK_OF(X509)":
        pass
    ctypedef struct STACK_OF_X509_NAME "STACK_OF(X509_NAME)":
        pass
    void X509_free(X509 *) noexcept
    int X509_up_ref(X509 *) noexcept
    int i2d_X509(X509 *, unsigned char **) noexcept
    EVP_PKEY *X509_get0_pubkey(const X509 *) noexcept
    X509_NAME *X509_get_subject_name(const X509 *) noexcept
    ctypedef struct ASN1_TIME:
        pass
    const ASN1_TIME *X509_get0_notAfter(const X509 *) noexcept
    int X509_cmp_current_time(const ASN1_TIME *) noexcept
    int X509_NAME_print_ex(BIO *, const X509_NAME *, int, unsigned long) noexcept
    unsigned long XN_FLAG_RFC2253
    int X509_digest(const X509 *, const EVP_MD *, unsigned char *, unsigned int *) noexcept
    void X509_CRL_free(X509_CRL *) noexcept
    X509_STORE *X509_STORE_new() noexcept
    void X509_STORE_free(X509_STORE *) noexcept
    int X509_STORE_up_ref(X509_STORE *) noexcept
    int X509_STORE_add_cert(X509_STORE *, X509 *) noexcept
    int X509_STORE_add_crl(X509_STORE *, X509_CRL *) noexcept
    int X509_STORE_set_flags(X509_STORE *, unsigned long) noexcept
    int X509_STORE_set_default_paths(X509_STORE *) noexcept
    unsigned long X509_V_FLAG_CRL_CHECK, X509_V_FLAG_CRL_CHECK_ALL, X509_V_FLAG_PARTIAL_CHAIN
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *, const char *) noexcept
    int X509_VERIFY_PARAM_set1_host(X509_VERIFY_PARAM *, const char *, size_t) noexcept
    void X509_VERIFY_PARAM_set_hostflags(X509_VERIFY_PARAM *, unsigned int) noexcept
    unsigned int X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    const char *X509_verify_cert_error_string(long) noexcept
    int X509_V_OK
    void *X509_get_ext_d2i(const X509 *, int, int *, int *) noexcept
    int NID_subject_alt_name, GEN_URI, GEN_DNS
    int sk_GENERAL_NAME_num(const GENERAL_NAMES *) noexcept
    GENERAL_NAME *sk_GENERAL_NAME_value(const GENERAL_NAMES *, int) noexcept
    void GENERAL_NAMES_free(GENERAL_NAMES *) noexcept
    void *GENERAL_NAME_get0_value(const GENERAL_NAME *, int *) noexcept
    int ASN1_STRING_length(const ASN1_STRING *) noexcept
    const unsigned char *ASN1_STRING_get0_data(const ASN1_STRING *) noexcept
    int BIO_read(BIO *, void *, int) noexcept
    int BIO_pending(BIO *) noexcept
    int sk_X509_num(const STACK_OF_X509 *) noexcept
    X509 *sk_X509_value(const STACK_OF_X509 *, int) noexcept
    const BIO_METHOD *BIO_s_mem() noexcept

cdef extern from "<openssl/pem.h>" nogil:
    ctypedef int pem_password_cb(char *, int, int, void *) noexcept
    X509 *PEM_read_bio_X509(BIO *, X509 **, pem_password_cb *, void *) noexcept
    X509_CRL *PEM_read_bio_X509_CRL(BIO *, X509_CRL **, pem_password_cb *, void *) noexcept
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *, EVP_PKEY **, pem_password_cb *, void *) noexcept

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    ctypedef int SSL_TICKET_STATUS
    ctypedef int SSL_TICKET_RETURN
    ctypedef int OSSL_HANDSHAKE_STATE

    # contexts
    const SSL_METHOD *TLS_server_method() noexcept
    const SSL_METHOD *TLS_client_method() noexcept
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *) noexcept
    void SSL_CTX_free(SSL_CTX *) noexcept
    int SSL_CTX_set_min_proto_version(SSL_CTX *, int) noexcept
    int SSL_CTX_set_max_proto_version(SSL_CTX *, int) noexcept
    int TLS1_2_VERSION, TLS1_3_VERSION
    uint64_t SSL_CTX_set_options(SSL_CTX *, uint64_t) noexcept
    uint64_t SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_TICKET
    uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_PRIORITIZE_CHACHA
    uint64_t SSL_OP_NO_ANTI_REPLAY, SSL_OP_ENABLE_KTLS
    long SSL_CTX_set_mode(SSL_CTX *, long) noexcept
    long SSL_MODE_RELEASE_BUFFERS, SSL_MODE_ENABLE_PARTIAL_WRITE
    long SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    int SSL_CTX_set_cipher_list(SSL_CTX *, const char *) noexcept
    int SSL_CTX_set_ciphersuites(SSL_CTX *, const char *) noexcept
    long SSL_CTX_set1_groups_list(SSL_CTX *, const char *) noexcept
    int SSL_CTX_set0_tmp_dh_pkey(SSL_CTX *, EVP_PKEY *) noexcept
    int SSL_CTX_use_cert_and_key(SSL_CTX *, X509 *, EVP_PKEY *, STACK_OF_X509 *, int) noexcept
    long SSL_CTX_add1_chain_cert(SSL_CTX *, X509 *) noexcept
    void SSL_CTX_set1_cert_store(SSL_CTX *, X509_STORE *) noexcept
    void SSL_CTX_set_verify(SSL_CTX *, int, void *) noexcept
    void SSL_CTX_set_verify_depth(SSL_CTX *, int) noexcept
    int SSL_CTX_get_verify_mode(const SSL_CTX *) noexcept
    int SSL_CTX_get_verify_depth(const SSL_CTX *) noexcept
    int SSL_CTX_add_client_CA(SSL_CTX *, X509 *) noexcept
    int SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    int SSL_CTX_set_session_id_context(SSL_CTX *, const unsigned char *, unsigned int) noexcept
    long SSL_CTX_set_session_cache_mode(SSL_CTX *, long) noexcept
    long SSL_SESS_CACHE_OFF, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_NO_INTERNAL
    long SSL_CTX_set_timeout(SSL_CTX *, long) noexcept
    int SSL_CTX_set_num_tickets(SSL_CTX *, size_t) noexcept
    int SSL_CTX_set_max_early_data(SSL_CTX *, uint32_t) noexcept
    int SSL_CTX_set_recv_max_early_data(SSL_CTX *, uint32_t) noexcept
    int SSL_set_alpn_protos(SSL *, const unsigned char *, unsigned int) noexcept
    int SSL_CTX_set_alpn_protos(SSL_CTX *, const unsigned char *, unsigned int) noexcept

    # what it calls
    int SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_ALERT_FATAL
    ctypedef int on_alpn_t(
        SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int,
        void *) noexcept nogil
    void SSL_CTX_set_alpn_select_cb(SSL_CTX *, on_alpn_t *, void *) noexcept
    int SSL_CLIENT_HELLO_SUCCESS, SSL_CLIENT_HELLO_ERROR
    int SSL_AD_UNRECOGNIZED_NAME, SSL_AD_INTERNAL_ERROR, SSL_AD_DECODE_ERROR
    int SSL_AD_NO_RENEGOTIATION
    void SSL_CTX_set_client_hello_cb(
        SSL_CTX *, int (*)(SSL *, int *, void *) noexcept nogil, void *) noexcept
    int SSL_client_hello_get0_ext(SSL *, unsigned int, const unsigned char **, size_t *) noexcept
    unsigned int TLSEXT_TYPE_server_name
    long SSL_CTX_set_tlsext_servername_callback(
        SSL_CTX *, int (*)(SSL *, int *, void *) noexcept nogil) noexcept
    long SSL_CTX_set_tlsext_status_cb(SSL_CTX *, int (*)(SSL *, void *) noexcept nogil) noexcept
    long SSL_CTX_set_tlsext_status_arg(SSL_CTX *, void *) noexcept
    long SSL_set_tlsext_status_ocsp_resp(SSL *, unsigned char *, long) noexcept
    ctypedef int on_ticket_key_t(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *,
                                 EVP_MAC_CTX *, int) noexcept nogil
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(SSL_CTX *, on_ticket_key_t *) noexcept
    int SSL_CTX_set_session_ticket_cb(
        SSL_CTX *, int (*)(SSL *, void *) noexcept nogil,
        SSL_TICKET_RETURN (*)(SSL *, SSL_SESSION *, const unsigned char *, size_t,
                              SSL_TICKET_STATUS, void *) noexcept nogil, void *) noexcept
    SSL_TICKET_STATUS SSL_TICKET_SUCCESS, SSL_TICKET_SUCCESS_RENEW, SSL_TICKET_NO_DECRYPT
    SSL_TICKET_RETURN SSL_TICKET_RETURN_USE, SSL_TICKET_RETURN_USE_RENEW
    SSL_TICKET_RETURN SSL_TICKET_RETURN_IGNORE_RENEW
    int SSL_SESSION_set1_ticket_appdata(SSL_SESSION *, const void *, size_t) noexcept
    int SSL_SESSION_get0_ticket_appdata(SSL_SESSION *, void **, size_t *) noexcept
    X509 *SSL_SESSION_get0_peer(SSL_SESSION *) noexcept
    void SSL_CTX_set_msg_callback(
        SSL_CTX *, void (*)(int, int, int, const void *, size_t, SSL *, void *) noexcept nogil
        ) noexcept
    int SSL3_RT_HANDSHAKE, SSL3_RT_ALERT
    void SSL_CTX_sess_set_new_cb(
        SSL_CTX *, int (*)(SSL *, SSL_SESSION *) noexcept nogil) noexcept

    # connections
    SSL *SSL_new(SSL_CTX *) noexcept
    void SSL_free(SSL *) noexcept
    SSL_CTX *SSL_get_SSL_CTX(const SSL *) noexcept
    SSL_CTX *SSL_set_SSL_CTX(SSL *, SSL_CTX *) noexcept
    void SSL_set_verify(SSL *, int, void *) noexcept
    void SSL_set_verify_depth(SSL *, int) noexcept
    void SSL_set_bio(SSL *, BIO *, BIO *) noexcept
    int SSL_set_fd(SSL *, int) noexcept
    BIO *SSL_get_wbio(const SSL *) noexcept
    BIO *SSL_get_rbio(const SSL *) noexcept
    int SSL_set_ex_data(SSL *, int, void *) noexcept
    int SSL_set_app_data(SSL *, void *) noexcept
    void *SSL_get_app_data(const SSL *) noexcept
    void SSL_set_accept_state(SSL *) noexcept
    void SSL_set_connect_state(SSL *) noexcept
    int SSL_do_handshake(SSL *) noexcept
    int SSL_read_ex(SSL *, void *, size_t, size_t *) noexcept
    int SSL_peek_ex(SSL *, void *, size_t, size_t *) noexcept
    int SSL_write_ex(SSL *, const void *, size_t, size_t *) noexcept
    int SSL_read_early_data(SSL *, void *, size_t, size_t *) noexcept
    int SSL_write_early_data(SSL *, const void *, size_t, size_t *) noexcept
    int SSL_READ_EARLY_DATA_ERROR, SSL_READ_EARLY_DATA_SUCCESS, SSL_READ_EARLY_DATA_FINISH
    int SSL_get_early_data_status(const SSL *) noexcept
    int SSL_EARLY_DATA_ACCEPTED
    int SSL_shutdown(SSL *) noexcept
    void SSL_set_shutdown(SSL *, int) noexcept
    int SSL_get_shutdown(const SSL *) noexcept
    int SSL_SENT_SHUTDOWN, SSL_RECEIVED_SHUTDOWN
    int SSL_get_error(const SSL *, int) noexcept
    int SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, SSL_ERROR_SSL
    int SSL_ERROR_SYSCALL
    int SSL_pending(const SSL *) noexcept
    int SSL_is_init_finished(const SSL *) noexcept
    int SSL_session_reused(const SSL *) noexcept
    const char *SSL_get_servername(const SSL *, int) noexcept
    int TLSEXT_NAMETYPE_host_name
    void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned int *) noexcept
    X509 *SSL_get_certificate(const SSL *) noexcept
    X509 *SSL_get0_peer_certificate(const SSL *) noexcept
    STACK_OF_X509 *SSL_get_peer_cert_chain(const SSL *) noexcept
    long SSL_get_verify_result(const SSL *) noexcept
    const char *SSL_get_version(const SSL *) noexcept
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *) noexcept
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *) noexcept
    long SSL_set_tlsext_host_name(SSL *, const char *) noexcept
    X509_VERIFY_PARAM *SSL_get0_param(SSL *) noexcept
    int SSL_set_session(SSL *, SSL_SESSION *) noexcept
    int SSL_version(const SSL *) noexcept
    SSL_SESSION *SSL_get_session(const SSL *) noexcept
    void SSL_SESSION_free(SSL_SESSION *) noexcept
    int SSL_SESSION_is_resumable(const SSL_SESSION *) noexcept
