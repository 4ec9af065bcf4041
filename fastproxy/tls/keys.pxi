# SPDX-License-Identifier: MIT
# A whole keyring as a worker has it: hosts of listeners, contexts of upstreams. Python, as
# contexts.pxi.

cdef TlsKeys *_build_keys(Engine *eng, TlsRoom *room, keyring) except NULL:
    cdef TlsKeys *keys = <TlsKeys *> calloc(1, sizeof(TlsKeys))
    cdef uint32_t i
    if keys == NULL:
        raise MemoryError
    keys.holders = 1
    keys.room = room
    keys.generation = <uint32_t> keyring.generation
    try:
        keys.listeners = <TlsListener *> calloc(
            len(keyring.listeners) + 1, sizeof(TlsListener))
        keys.upstreams = <TlsUpstream *> calloc(
            len(keyring.upstreams) + 1, sizeof(TlsUpstream))
        if keys.listeners == NULL or keys.upstreams == NULL:
            raise MemoryError
        keys.listener_count = len(keyring.listeners)
        keys.upstream_count = len(keyring.upstreams)
        for i, spec in enumerate(keyring.listeners):
            if spec is not None:
                try:
                    _build_listener(&keys.listeners[i], i, spec)
                    keys.listeners[i].ktls = spec.ktls and room.kernel
                except ValueError as error:
                    raise ValueError(f"listener {i}: {error}") from None
        for i, spec in enumerate(keyring.upstreams):
            if spec is not None:
                try:
                    _build_upstream(eng, room, &keys.upstreams[i], i, spec, keys.generation)
                except ValueError as error:
                    raise ValueError(f"upstream {i}: {error}") from None
    except BaseException:
        keys_release(keys)
        raise
    return keys


# ---- listeners ------------------------------------------------------------------------------

def _matches(table, str name):
    """What a table of names has for this one: by itself, else by the wildcard for its first label;
    None: nothing. (hello.pxi: host_find)"""
    if name in table:
        return table[name]
    _, dot, rest = name.partition(".")
    return table.get(f"*.{rest}") if dot else None


def _rule_of(rules, str name):
    """The rule of a name, also that of a wildcard far above it. (hello.pxi: rule_find)"""
    if name in rules:
        return rules[name]
    rest = name.partition(".")[2]
    while rest:
        if f"*.{rest}" in rules:
            return rules[f"*.{rest}"]
        rest = rest.partition(".")[2]
    return rules.get("", 0)


cdef dict _pairs_by_name(pairs):
    found = {}
    for pair in pairs:
        for name in pair.names:
            found.setdefault(name.lower(), []).append(pair)
    return found


cdef dict _rules_by_host(rules):
    """{host: rule number from 1, or 0: nobody is asked}; "": for all others."""
    found = {}
    for number, rule in enumerate(rules, 1):
        for host in rule.hosts or [""]:
            found.setdefault(host.lower(), 0 if rule.mode == "off" else number)
    return found


cdef bytes _identity(index, spec, names, rule):
    """What sessions are bound to: the listener, the names, and who may come in there."""
    whole = hashlib.sha256(f"{index} {spec.profile} {','.join(names)} ".encode())
    if rule is not None:
        for part in (rule.mode.encode(), rule.ca, rule.crl, str(rule.depth).encode()):
            whole.update(hashlib.sha256(part).digest())
    return whole.digest()


cdef int _build_listener(TlsListener *listener, index, spec) except -1:
    """Names that share certificates and rule are one host; the first hosts, one for each rule, are
    for names that no certificate has."""
    if not spec.pairs:
        raise ValueError("there is no certificate")
    if spec.profile not in ("intermediate", "modern"):
        raise ValueError(f"{spec.profile!r} is no profile")
    pairs = _pairs_by_name(spec.pairs)
    rules = _rules_by_host(spec.client_auth)
    listener.rule = rules.get("", 0)
    first = [pair for pair in spec.pairs if pair.names == spec.pairs[0].names]
    groups = {(tuple(map(id, first)), number): ([], first)
              for number in dict.fromkeys([listener.rule, *rules.values()])}
    listener.others = <uint32_t *> calloc(len(spec.client_auth) + 1, sizeof(uint32_t))
    if listener.others == NULL:
        raise MemoryError
    for at, (_, number) in enumerate(groups):
        listener.others[<uint32_t> number] = at
    for name in sorted({*pairs, *rules} - {""}):
        own = _matches(pairs, name)
        if own is not None:
            key = (tuple(map(id, own)), _rule_of(rules, name))
            groups.setdefault(key, ([], own))[0].append(name)
    listener.hosts = <TlsHost *> calloc(len(groups), sizeof(TlsHost))
    if listener.hosts == NULL:
        raise MemoryError
    listener.refuse = spec.unknown_sni == "refuse"
    listener.http2 = spec.http2
    listener.rules = bool(spec.client_auth)
    listener.early_data = spec.early_data
    served = []
    for (_, number), (names, own) in groups.items():
        rule = spec.client_auth[number - 1] if number else None
        host = &listener.hosts[listener.host_count]
        host.rule = number
        identity = _identity(index, spec, names, rule)
        memcpy(host.vhost, <const char *> identity, VHOST_BYTES)
        listener.host_count += 1
        _build_host(host, spec, own, rule)
        served += [(name, listener.host_count - 1) for name in names]
    _build_names(&listener.names, served)
    _build_names(&listener.ruled, [
        (name.removeprefix("*"), number) for name, number in rules.items() if name])
    return 0


cdef int _build_names(TlsNames *names, list given) except -1:
    """`given`: (name, number)."""
    cdef TlsName *item
    names.items = <TlsName *> calloc(len(given) + 1, sizeof(TlsName))
    if names.items == NULL:
        raise MemoryError
    for length, text, number in sorted((len(name), name.encode(), at) for name, at in given):
        item = &names.items[names.count]
        item.text = <char *> malloc(length + 1)
        if item.text == NULL:
            raise MemoryError
        memcpy(item.text, <const char *> text, length)
        item.len = length
        item.number = number
        names.count += 1
    return 0


# ---- upstreams ------------------------------------------------------------------------------

cdef int _build_upstream(Engine *eng, TlsRoom *room, TlsUpstream *upstream, uint32_t index, spec,
                         uint32_t generation) except -1:
    cdef bytes digest = hashlib.sha256(keyring_room.encode_upstream(spec)).digest()
    cdef bytes name = spec.server_name.encode()
    cdef X509 *leaf
    cdef X509_STORE *store
    if spec.protocol not in PROTOCOLS:
        raise ValueError(f"{spec.protocol!r} is no protocol")
    memcpy(upstream.digest, <const char *> digest, VHOST_BYTES)
    upstream.stamp = _stamp(room, index, digest, generation)
    upstream.verify = spec.verify
    upstream.protocol = PROTOCOLS[spec.protocol]
    upstream.context = _context(TLS_client_method(), "intermediate")
    if name:
        upstream.server_name = <char *> malloc(len(name) + 1)
        if upstream.server_name == NULL:
            raise MemoryError
        memcpy(upstream.server_name, <const char *> name, len(name) + 1)
    if spec.chain:
        leaf = _use_pair(upstream.context, spec.chain, spec.key)
        X509_free(leaf)
    if spec.verify:
        store = _store(spec.ca, b"") if spec.ca else _system_store(room)
        SSL_CTX_set1_cert_store(upstream.context, store)
        if spec.ca:
            X509_STORE_free(store)
        SSL_CTX_set_verify(upstream.context, SSL_VERIFY_PEER, NULL)
    if upstream.protocol == UPSTREAM_HTTP2 and eng.http2 == NULL:
        raise ValueError("protocol = \"http2\" needs the HTTP/2 extension")
    _offer(eng, upstream)
    SSL_CTX_set_session_cache_mode(upstream.context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
    SSL_CTX_sess_set_new_cb(upstream.context, on_new_session)
    return 0


cdef int _offer(Engine *eng, TlsUpstream *upstream) except -1:
    """ALPN."""
    cdef bytes names = b"\x08http/1.1"
    if upstream.protocol == UPSTREAM_HTTP2:
        names = b"\x02h2"
    elif upstream.protocol == UPSTREAM_AUTO and eng.http2 != NULL:
        names = b"\x02h2" + names
    if SSL_CTX_set_alpn_protos(upstream.context, names, <unsigned int> len(names)) != 0:
        raise MemoryError
    return 0


cdef uint32_t _stamp(TlsRoom *room, uint32_t index, bytes digest, uint32_t generation):
    """Since when it is what it is: connections made before are not used again."""
    cdef const TlsUpstream *before
    if room.keys != NULL and index < room.keys.upstream_count:
        before = &room.keys.upstreams[index]
        if before.context != NULL and memcmp(before.digest, <const char *> digest,
                                             VHOST_BYTES) == 0:
            return before.stamp
    return generation


cdef X509_STORE *_system_store(TlsRoom *room) except NULL:
    """Whom the system trusts; read once."""
    if room.system_store == NULL:
        room.system_store = X509_STORE_new()
        if room.system_store == NULL:
            raise MemoryError
        if X509_STORE_set_default_paths(room.system_store) != 1:
            raise ValueError(f"the system's certificates cannot be had: {_why()}")
    return room.system_store
