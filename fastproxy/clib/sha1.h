/* SPDX-License-Identifier: MIT
 * SHA-1 (FIPS 180-4) of a short message, for Sec-WebSocket-Accept (RFC 6455 4.2.2) only: there it
 * is a handshake check, not security. */
#ifndef FASTPROXY_SHA1_H
#define FASTPROXY_SHA1_H
#include <stdint.h>
#include <string.h>

static inline uint32_t sha1_rotate(uint32_t x, int n) { return (x << n) | (x >> (32 - n)); }

static inline void sha1_block(uint32_t h[5], const unsigned char *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8
             | p[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = sha1_rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k, t;
        if (i < 20) { f = (b & c) | (~b & d); k = 0x5a827999; }
        else if (i < 40) { f = b ^ c ^ d; k = 0x6ed9eba1; }
        else if (i < 60) { f = (b & c) | (b & d) | (c & d); k = 0x8f1bbcdc; }
        else { f = b ^ c ^ d; k = 0xca62c1d6; }
        t = sha1_rotate(a, 5) + f + e + k + w[i];
        e = d; d = c; c = sha1_rotate(b, 30); b = a; a = t;
    }
    h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e;
}

/* base64(SHA-1(key + GUID)): 28 bytes into `out`, no NUL. Keys above 80 bytes give an answer that
 * matches nothing (a real key has 24). */
static inline void websocket_accept(const char *key, size_t length, char *out) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char message[192], digest[21];
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t size, padded;
    memset(out, '!', 28);
    if (length > 80) return;
    memset(message, 0, sizeof message);
    memcpy(message, key, length);
    memcpy(message + length, guid, 36);
    size = length + 36;
    message[size] = 0x80;
    padded = (size + 9 + 63) / 64 * 64;
    for (int i = 0; i < 8; i++)
        message[padded - 1 - i] = (unsigned char)((uint64_t)size * 8 >> (8 * i));
    for (size_t at = 0; at < padded; at += 64) sha1_block(h, message + at);
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
    digest[20] = 0;
    for (int i = 0; i < 7; i++) {
        const unsigned char *three = digest + 3 * i;
        uint32_t v = (uint32_t)three[0] << 16 | (uint32_t)three[1] << 8 | three[2];
        for (int j = 0; j < 4; j++) out[4 * i + j] = digits[v >> (18 - 6 * j) & 63];
    }
    out[27] = '=';
}
#endif
