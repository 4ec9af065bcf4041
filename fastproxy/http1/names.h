/* SPDX-License-Identifier: MIT
 * Field names as tables; read through names.pxd, which says what they are for. */
#ifndef FASTPROXY_NAMES_H
#define FASTPROXY_NAMES_H
#include "fastproxy/clib/scan.h"

#define SCAN_CASE (WORD_ONES * 0x20)

/* First and last eight bytes of a name, lower-cased, against a literal: folds to two compares. */
static inline int ends_are(uint64_t first, uint64_t last, const char *text, size_t length)
{
    return first == word8(text) && last == word8(text + length - 8);
}

/* OR 0x20 lower-cases letters and maps no other tchar onto a letter, a digit or '-'. */
static inline uint64_t lower8(const char *p) { return word8(p) | SCAN_CASE; }
static inline uint32_t lower4(const char *p) { return word4(p) | 0x20202020u; }
static inline uint32_t lower2(const char *p) { return word2(p) | 0x2020u; }

/* By FieldId (head.pxd). */
static const char *const field_names[] = {
    "", "Host", "Connection", "Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "TE",
    "Trailer", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
    "HTTP2-Settings", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
    "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-IP", "Forwarded", "Via", "X-Request-ID",
    "Date", "Server", "Accept", "User-Agent", "Referer", "Cookie", "Set-Cookie", "Location",
    "Content-Type", "Sec-WebSocket-Key", "Sec-WebSocket-Accept", "Client-Cert",
    "Client-Cert-Chain", "X-Forwarded-Client-Cert", "Strict-Transport-Security",
};

/* First letters of those of eight bytes and more, by length: tells most that are none of them. */
#define LETTER(c) (1u << ((c) & 31))
#define LETTERS2(a, b) (LETTER(a) | LETTER(b))
static const uint32_t first_letters[] = {
    [8] = LETTER('l'),
    [9] = LETTERS2('f', 'x'),
    [10] = LETTERS2('c', 'u') | LETTERS2('k', 's'),
    [11] = LETTER('c'),
    [12] = LETTERS2('c', 'x'),
    [14] = LETTERS2('c', 'h'),
    [15] = LETTER('x'),
    [16] = LETTERS2('x', 'p'),
    [17] = LETTERS2('t', 'x') | LETTERS2('s', 'c'),
    [18] = LETTERS2('x', 'p'),
    [19] = LETTER('p'),
    [20] = LETTER('s'),
    [23] = LETTER('x'),
    [25] = LETTER('s'),
};
enum { KNOWN_NAME_MAX = sizeof(first_letters) / sizeof(first_letters[0]) - 1 };

/* By Method (head.pxd). */
static const char *const method_names[] = {
    "", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
};

enum {
    GUARD_CONNECTION = 1, /* Connection may not name it away */
    GUARD_TRAILER = 2,    /* never taken from a trailer section */
    GUARD_PREFIX = 4      /* the name only begins like this */
};

typedef struct {
    const char *name;
    uint8_t length;
    uint8_t guards;
} GuardedName;

#define BOTH (GUARD_CONNECTION | GUARD_TRAILER)
#define GUARDED(name, guards) {name, sizeof(name) - 1, guards}

static const GuardedName guarded_names[] = {
    /* routing and framing */
    GUARDED("host", BOTH),
    GUARDED("content-length", BOTH),
    GUARDED("transfer-encoding", BOTH),
    GUARDED("connection", BOTH),
    GUARDED("keep-alive", GUARD_TRAILER),
    GUARDED("proxy-connection", GUARD_TRAILER),
    GUARDED("te", GUARD_TRAILER),
    GUARDED("trailer", GUARD_TRAILER),
    GUARDED("upgrade", GUARD_TRAILER),
    GUARDED("http2-settings", GUARD_TRAILER),
    /* request modifiers: they change what the request means */
    GUARDED("expect", BOTH),
    GUARDED("max-forwards", BOTH),
    GUARDED("range", BOTH),
    GUARDED("if-", BOTH | GUARD_PREFIX),
    GUARDED("cache-control", BOTH),
    GUARDED("pragma", BOTH),
    GUARDED("origin", BOTH),
    GUARDED("referer", BOTH),
    GUARDED("user-agent", BOTH),
    GUARDED("accept", BOTH | GUARD_PREFIX),
    GUARDED("access-control-", BOTH | GUARD_PREFIX),
    GUARDED("sec-", BOTH | GUARD_PREFIX),
    GUARDED("early-data", BOTH),
    /* who asks */
    GUARDED("authorization", BOTH),
    GUARDED("proxy-authorization", BOTH),
    GUARDED("proxy-authenticate", BOTH),
    GUARDED("www-authenticate", BOTH),
    GUARDED("authentication-info", BOTH),
    GUARDED("cookie", BOTH),
    GUARDED("set-cookie", BOTH),
    /* what a proxy vouches for */
    GUARDED("x-forwarded-", BOTH | GUARD_PREFIX),
    GUARDED("x-real-ip", BOTH),
    GUARDED("client-cert", BOTH | GUARD_PREFIX),
    GUARDED("x-request-id", BOTH),
    GUARDED("x-correlation-id", BOTH),
    GUARDED("forwarded", BOTH),
    GUARDED("via", BOTH),
    GUARDED("traceparent", BOTH),
    GUARDED("tracestate", BOTH),
    /* how the content is to be read, kept and shown */
    GUARDED("content-", BOTH | GUARD_PREFIX),
    GUARDED("age", BOTH),
    GUARDED("date", BOTH),
    GUARDED("expires", BOTH),
    GUARDED("etag", GUARD_CONNECTION),
    GUARDED("last-modified", BOTH),
    GUARDED("location", BOTH),
    GUARDED("retry-after", BOTH),
    GUARDED("vary", BOTH),
    GUARDED("warning", BOTH),
    GUARDED("server", GUARD_CONNECTION),
    GUARDED("allow", BOTH),
    GUARDED("strict-transport-security", BOTH),
    GUARDED("x-frame-options", BOTH),
    GUARDED("x-content-type-options", BOTH),
};
enum { GUARDED_NAMES = sizeof guarded_names / sizeof *guarded_names };
#undef GUARDED
#undef BOTH
#endif
