# SPDX-License-Identifier: MIT
"""Field names and methods: from text to number and back.

`field_id` runs once for every field of every message, so it walks no list: a switch on the length,
then compares of eight lower-cased bytes at a time. A new FieldId needs a line there, one in
`field_names`, from eight bytes on its letter in `first_letters` (both names.h), and one in
head.pxd; a test compares them.

`name_guards` is the slow question, asked only of names that a Connection field or a trailer section
brings up: may it be taken away (B3 22), may it come that late (B3 26)? The table is in names.h.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastproxy.http1.head cimport (
    FIELD_ACCEPT, FIELD_CLIENT_CERT, FIELD_CLIENT_CERT_CHAIN, FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH, FIELD_CONTENT_TYPE, FIELD_COOKIE, FIELD_DATE, FIELD_EXPECT,
    FIELD_FORWARDED, FIELD_HOST, FIELD_HTTP2_SETTINGS, FIELD_IDS, FIELD_KEEP_ALIVE,
    FIELD_LOCATION, FIELD_OTHER, FIELD_PROXY_AUTHENTICATE, FIELD_PROXY_AUTHORIZATION,
    FIELD_PROXY_CONNECTION, FIELD_REFERER, FIELD_SEC_WEBSOCKET_ACCEPT, FIELD_SEC_WEBSOCKET_KEY,
    FIELD_SERVER, FIELD_SET_COOKIE, FIELD_STRICT_TRANSPORT_SECURITY, FIELD_TE, FIELD_TRAILER,
    FIELD_TRANSFER_ENCODING, FIELD_UPGRADE, FIELD_USER_AGENT, FIELD_VIA,
    FIELD_X_FORWARDED_CLIENT_CERT, FIELD_X_FORWARDED_FOR, FIELD_X_FORWARDED_HOST,
    FIELD_X_FORWARDED_PORT, FIELD_X_FORWARDED_PREFIX, FIELD_X_FORWARDED_PROTO, FIELD_X_REAL_IP,
    FIELD_X_REQUEST_ID,
    METHOD_CONNECT, METHOD_DELETE, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_OTHER,
    METHOD_PATCH, METHOD_POST, METHOD_PUT, METHOD_TRACE,
)
from fastproxy.memory.span cimport Span, ascii_lower

cdef extern from "fastproxy/http1/names.h" nogil:
    enum:
        GUARD_CONNECTION
        GUARD_TRAILER
        GUARD_PREFIX
        GUARDED_NAMES
        KNOWN_NAME_MAX
    ctypedef struct GuardedName:
        const char *name
        uint8_t length
        uint8_t guards
    const GuardedName guarded_names[]
    const char *field_names[]
    const uint32_t first_letters[]
    const char *method_names[]
    bint ends_are(uint64_t first, uint64_t last, const char *text, size_t length) noexcept
    uint64_t lower8(const char *p) noexcept
    uint32_t lower4(const char *p) noexcept
    uint32_t lower2(const char *p) noexcept
    uint64_t word8(const char *p) noexcept
    uint32_t word4(const char *p) noexcept
    uint32_t word2(const char *p) noexcept


cdef inline uint8_t _short_id(const char *p, size_t n) noexcept nogil:
    """Names of two to seven bytes."""
    if n == 4:
        if lower4(p) == word4(b"host"):
            return FIELD_HOST
        if lower4(p) == word4(b"date"):
            return FIELD_DATE
    elif n == 6:
        if lower4(p) == word4(b"acce") and lower2(p + 4) == word2(b"pt"):
            return FIELD_ACCEPT
        if lower4(p) == word4(b"cook") and lower2(p + 4) == word2(b"ie"):
            return FIELD_COOKIE
        if lower4(p) == word4(b"expe") and lower2(p + 4) == word2(b"ct"):
            return FIELD_EXPECT
        if lower4(p) == word4(b"serv") and lower2(p + 4) == word2(b"er"):
            return FIELD_SERVER
    elif n == 7:
        if lower4(p) == word4(b"refe") and lower4(p + 3) == word4(b"erer"):
            return FIELD_REFERER
        if lower4(p) == word4(b"upgr") and lower4(p + 3) == word4(b"rade"):
            return FIELD_UPGRADE
        if lower4(p) == word4(b"trai") and lower4(p + 3) == word4(b"iler"):
            return FIELD_TRAILER
    elif n == 2:
        if lower2(p) == word2(b"te"):
            return FIELD_TE
    elif n == 3:
        if lower2(p) == word2(b"vi") and lower2(p + 1) == word2(b"ia"):
            return FIELD_VIA
    return FIELD_OTHER


cdef inline uint8_t _long_id(const char *p, size_t n, uint64_t a, uint64_t z) noexcept nogil:
    """Names of 17 to 25 bytes: the two ends leave a gap, a third word covers it."""
    cdef uint64_t m = lower8(p + 8)
    if n == 17:
        if ends_are(a, z, b"transfer-encoding", 17) and m == word8(b"-encodin"):
            return FIELD_TRANSFER_ENCODING
        if ends_are(a, z, b"x-forwarded-proto", 17) and m == word8(b"ded-prot"):
            return FIELD_X_FORWARDED_PROTO
        if ends_are(a, z, b"sec-websocket-key", 17) and m == word8(b"ocket-ke"):
            return FIELD_SEC_WEBSOCKET_KEY
        if ends_are(a, z, b"client-cert-chain", 17) and m == word8(b"ert-chai"):
            return FIELD_CLIENT_CERT_CHAIN
    elif n == 18:
        if ends_are(a, z, b"x-forwarded-prefix", 18) and m == word8(b"ded-pref"):
            return FIELD_X_FORWARDED_PREFIX
        if ends_are(a, z, b"proxy-authenticate", 18) and m == word8(b"thentica"):
            return FIELD_PROXY_AUTHENTICATE
    elif n == 19:
        if ends_are(a, z, b"proxy-authorization", 19) and m == word8(b"thorizat"):
            return FIELD_PROXY_AUTHORIZATION
    elif n == 20:
        if ends_are(a, z, b"sec-websocket-accept", 20) and m == word8(b"ocket-ac"):
            return FIELD_SEC_WEBSOCKET_ACCEPT
    elif n == 23:
        if ends_are(a, z, b"x-forwarded-client-cert", 23) and m == word8(b"ded-clie"):
            return FIELD_X_FORWARDED_CLIENT_CERT
    elif n == 25:
        if ends_are(a, z, b"strict-transport-security", 25) and m == word8(b"ransport"):
            return FIELD_STRICT_TRANSPORT_SECURITY if p[16] == 45 else FIELD_OTHER
    return FIELD_OTHER


cdef inline uint8_t field_id(const char *p, size_t n) noexcept nogil:
    """FieldId of a name made of token characters, whatever its case; FIELD_OTHER if not known."""
    cdef uint64_t a, z
    if n < 8:
        return _short_id(p, n)
    if n > <size_t> KNOWN_NAME_MAX or not (first_letters[n] >> (p[0] & 31)) & 1:
        return FIELD_OTHER
    a = lower8(p)
    z = lower8(p + n - 8)
    if n == 8:
        if a == word8(b"location"):
            return FIELD_LOCATION
    elif n == 9:
        if ends_are(a, z, b"forwarded", 9):
            return FIELD_FORWARDED
        if ends_are(a, z, b"x-real-ip", 9):
            return FIELD_X_REAL_IP
    elif n == 10:
        if ends_are(a, z, b"connection", 10):
            return FIELD_CONNECTION
        if ends_are(a, z, b"user-agent", 10):
            return FIELD_USER_AGENT
        if ends_are(a, z, b"keep-alive", 10):
            return FIELD_KEEP_ALIVE
        if ends_are(a, z, b"set-cookie", 10):
            return FIELD_SET_COOKIE
    elif n == 11:
        if ends_are(a, z, b"client-cert", 11):
            return FIELD_CLIENT_CERT
    elif n == 12:
        if ends_are(a, z, b"content-type", 12):
            return FIELD_CONTENT_TYPE
        if ends_are(a, z, b"x-request-id", 12):
            return FIELD_X_REQUEST_ID
    elif n == 14:
        if ends_are(a, z, b"content-length", 14):
            return FIELD_CONTENT_LENGTH
        if ends_are(a, z, b"http2-settings", 14):
            return FIELD_HTTP2_SETTINGS
    elif n == 15:
        if ends_are(a, z, b"x-forwarded-for", 15):
            return FIELD_X_FORWARDED_FOR
    elif n == 16:
        if ends_are(a, z, b"x-forwarded-host", 16):
            return FIELD_X_FORWARDED_HOST
        if ends_are(a, z, b"x-forwarded-port", 16):
            return FIELD_X_FORWARDED_PORT
        if ends_are(a, z, b"proxy-connection", 16):
            return FIELD_PROXY_CONNECTION
    elif n > 16:
        return _long_id(p, n, a, z)
    return FIELD_OTHER


cdef inline const char *field_text(uint8_t id) noexcept nogil:
    """The name as it is usually written, NUL-terminated; "" for FIELD_OTHER."""
    return field_names[id if id < FIELD_IDS else 0]


cdef inline uint8_t method_id(const char *p, size_t n) noexcept nogil:
    """Method of a token; case-sensitive (RFC 9110 9.1), METHOD_OTHER if not one of ours."""
    if n == 3:
        if word2(p) == word2(b"GE") and p[2] == 84:
            return METHOD_GET
        if word2(p) == word2(b"PU") and p[2] == 84:
            return METHOD_PUT
    elif n == 4:
        if word4(p) == word4(b"POST"):
            return METHOD_POST
        if word4(p) == word4(b"HEAD"):
            return METHOD_HEAD
    elif n == 5:
        if word4(p) == word4(b"PATC") and p[4] == 72:
            return METHOD_PATCH
        if word4(p) == word4(b"TRAC") and p[4] == 69:
            return METHOD_TRACE
    elif n == 6:
        if word4(p) == word4(b"DELE") and word2(p + 4) == word2(b"TE"):
            return METHOD_DELETE
    elif n == 7:
        if word4(p) == word4(b"OPTI") and word4(p + 3) == word4(b"IONS"):
            return METHOD_OPTIONS
        if word4(p) == word4(b"CONN") and word4(p + 3) == word4(b"NECT"):
            return METHOD_CONNECT
    return METHOD_OTHER


cdef inline const char *method_text(uint8_t id) noexcept nogil:
    """The method's token, NUL-terminated; "" for METHOD_OTHER."""
    return method_names[id if id <= METHOD_CONNECT else 0]


cdef inline uint8_t name_guards(Span name) noexcept nogil:
    """GUARD_CONNECTION and GUARD_TRAILER bits of a name: what may not be done with it."""
    cdef size_t i, j
    cdef const GuardedName *row
    for i in range(<size_t> GUARDED_NAMES):
        row = &guarded_names[i]
        if name.len < row.length or (name.len != row.length and not row.guards & GUARD_PREFIX):
            continue
        j = 0
        while j < row.length and ascii_lower(name.ptr[j]) == row.name[j]:
            j += 1
        if j == row.length:
            return row.guards & (GUARD_CONNECTION | GUARD_TRAILER)
    return 0
