# SPDX-License-Identifier: MIT
# Who asks, and by what name a request goes: addresses, trusted proxies, request ids.

# ---- addresses ------------------------------------------------------------------------------

cdef inline uint64_t address_hash(const BoardHeader *board, const uint8_t *address) noexcept nogil:
    """Keyed with the board's secret, so that nobody can aim at one window of the table. Never 0.
    IPv6 counts by /64, since one host owns as much (RFC 6177)."""
    cdef uint64_t high, low
    memcpy(&high, address, 8)
    memcpy(&low, address + 8, 8)
    if high != 0:
        low = 0
    high = (high ^ board.client_ip_seed[0]) * <uint64_t> 0x9E3779B97F4A7C15
    high ^= high >> 32
    high = (high ^ low ^ board.client_ip_seed[1]) * <uint64_t> 0xBF58476D1CE4E5B9
    high ^= high >> 29
    high *= <uint64_t> 0x94D049BB133111EB
    return (high ^ high >> 32) | 1


cdef inline bint is_v4_mapped(const uint8_t *address) noexcept nogil:
    cdef uint64_t high
    memcpy(&high, address, 8)
    return (high == 0 and address[8] == 0 and address[9] == 0
            and address[10] == 0xff and address[11] == 0xff)


cdef inline char *write_octet(char *to, uint32_t value) noexcept nogil:
    """0 to 255; where it ends."""
    cdef uint32_t hundreds
    if value >= 100:
        hundreds = 1 if value < 200 else 2
        to[0] = <char> (48 + hundreds)
        memcpy(to + 1, &DIGIT_PAIRS[(value - 100 * hundreds) * 2], 2)
        return to + 3
    if value >= 10:
        memcpy(to, &DIGIT_PAIRS[value * 2], 2)
        return to + 2
    to[0] = <char> (48 + value)
    return to + 1


cdef size_t address_text(const uint8_t *address, char *out) noexcept nogil:
    """Dotted quad, or IPv6 text (RFC 5952); at most 45 bytes, length returned."""
    cdef char *end = out
    cdef int i
    if is_v4_mapped(address):
        for i in range(12, 16):
            end = write_octet(end, address[i])
            end[0] = c'.'
            end += 1
        return <size_t> (end - out) - 1
    inet_ntop(AF_INET6, address, out, 46)
    return strlen(out)


cdef inline void address_mask(uint8_t *address, uint32_t bits) noexcept nogil:
    """Zero what is behind the first `bits`."""
    cdef uint32_t i
    for i in range(16):
        if bits >= 8:
            bits -= 8
        else:
            address[i] &= <uint8_t> (0xff00 >> bits)
            bits = 0


cdef bint in_cidr(const uint8_t *address, const CidrRow *row) noexcept nogil:
    cdef uint8_t whole = row.bits >> 3
    cdef uint8_t rest = row.bits & 7
    if memcmp(address, row.address, whole) != 0:
        return False
    return rest == 0 or (address[whole] ^ row.address[whole]) >> (8 - rest) == 0


cdef bint address_trusted(const PlanMap *plan, const uint8_t *address) noexcept nogil:
    cdef const CidrRow *rows = <const CidrRow *> (plan.base + plan.settings.trusted.off)
    cdef uint32_t i
    for i in range(plan.settings.trusted.count):
        if in_cidr(address, &rows[i]):
            return True
    return False


cdef inline bint is_trusted(const PlanMap *plan, const Connection *conn) noexcept nogil:
    """Is the socket's peer one of trusted_proxies? Unix sockets never are."""
    if plan.settings.trusted.count == 0 or conn.flags & CONN_UNIX:
        return False
    return address_trusted(plan, conn.peer)


# ---- who the client is ----------------------------------------------------------------------

cdef Span client_address(Engine *eng, Exchange *x, const Head *head, Span peer) noexcept nogil:
    """The right-most address that is not a trusted proxy's: the socket's peer, or, if that one is
    trusted, found by walking X-Forwarded-For from the right (B3 24)."""
    cdef int i
    cdef Span value, item
    cdef size_t end, start
    cdef uint8_t address[16]
    if not x.flags & X_TRUSTED:
        return peer
    i = head.count
    while i > 0:
        i -= 1
        if head.fields[i].id != FIELD_X_FORWARDED_FOR:
            continue
        value = value_of(head, &head.fields[i])
        end = value.len
        while True:
            start = end
            while start > 0 and value.ptr[start - 1] != c',':
                start -= 1
            item = trimmed(span(value.ptr + start, end - start))
            if not address_parse(item, address):
                return peer
            peer = item
            if not address_trusted(x.plan, address):
                return peer
            if start == 0:
                break
            end = start - 1
    return peer


cdef void client_bytes(Engine *eng, Exchange *x, const Head *head,
                       uint8_t *address) noexcept nogil:
    """The same as 16 bytes. Not for an exchange whose peer has no address."""
    cdef Span text
    memcpy(address, x.peer, 16)
    if x.flags & X_TRUSTED:
        text = client_address(eng, x, head, span(NULL, 0))
        if text.len != 0:
            address_parse(text, address)


cdef inline Span trimmed(Span s) noexcept nogil:
    while s.len != 0 and (s.ptr[0] == c' ' or s.ptr[0] == c'\t'):
        s.ptr += 1
        s.len -= 1
    while s.len != 0 and (s.ptr[s.len - 1] == c' ' or s.ptr[s.len - 1] == c'\t'):
        s.len -= 1
    return s


cdef bint address_parse(Span text, uint8_t *address) noexcept nogil:
    """An IPv4 or IPv6 literal, the latter perhaps in brackets, into 16 bytes."""
    cdef char room[48]
    if text.len >= 2 and text.ptr[0] == c'[' and text.ptr[text.len - 1] == c']':
        text = span(text.ptr + 1, text.len - 2)
    if text.len == 0 or text.len >= sizeof(room):
        return False
    memcpy(room, text.ptr, text.len)
    room[text.len] = 0
    memset(address, 0, 16)
    if inet_pton(AF_INET, room, address + 12) == 1:
        address[10] = 0xff
        address[11] = 0xff
        return True
    return inet_pton(AF_INET6, room, address) == 1


# ---- request ids ----------------------------------------------------------------------------

cdef void request_id_choose(Engine *eng, Exchange *x, const Head *head) noexcept nogil:
    """A fresh UUIDv7 (RFC 9562 5.7), or what a trusted peer calls it, if that is asked for."""
    cdef uint16_t i
    cdef Span given
    if (x.plan.settings.request_id_trust and x.flags & X_TRUSTED
            and has_field(head, FIELD_X_REQUEST_ID)):
        for i in range(head.count):
            given = value_of(head, &head.fields[i])
            if (head.fields[i].id == FIELD_X_REQUEST_ID and 0 < given.len <= sizeof(x.request_id)
                    and token_only(given)):
                memcpy(x.request_id, given.ptr, given.len)
                x.request_id_len = <uint8_t> given.len
                return
    uuid7(eng, x.request_id)
    x.request_id_len = 36


cdef inline void hex_digits(char *out, uint32_t value) noexcept nogil:
    """Eight digits, all at once: a nibble to each byte of a word, most significant first."""
    cdef uint64_t word = value
    cdef uint64_t letters
    word = (word << 32 | word >> 16) & <uint64_t> 0x0000ffff0000ffff
    word = (word << 16 | word >> 8) & <uint64_t> 0x00ff00ff00ff00ff
    word = (word << 8 | word >> 4) & <uint64_t> 0x0f0f0f0f0f0f0f0f
    letters = (word + <uint64_t> 0x0606060606060606) >> 4 & <uint64_t> 0x0101010101010101
    word += <uint64_t> 0x3030303030303030 + letters * 39     # "a" is 39 behind where "9" leads to
    memcpy(out, &word, 8)


cdef void uuid7(Engine *eng, char *out) noexcept nogil:
    cdef char digits[32]
    cdef uint64_t high, low
    high = ((wall_us(eng) // 1000) << 16) | 0x7000 | (random_next(eng.random) & 0xfff)
    low = (random_next(eng.random) & <uint64_t> 0x3fffffffffffffff) | <uint64_t> 0x8000000000000000
    hex_digits(digits, <uint32_t> (high >> 32))
    hex_digits(digits + 8, <uint32_t> high)
    hex_digits(digits + 16, <uint32_t> (low >> 32))
    hex_digits(digits + 24, <uint32_t> low)
    memcpy(out, digits, 8)
    memcpy(out + 9, digits + 8, 4)
    memcpy(out + 14, digits + 12, 4)
    memcpy(out + 19, digits + 16, 4)
    memcpy(out + 24, digits + 20, 12)
    out[8] = out[13] = out[18] = out[23] = c'-'
