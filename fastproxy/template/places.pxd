# SPDX-License-Identifier: MIT
"""Where each variable lies in a scene: asked when a template is compiled (`_core.part_place`) and
when a plan is checked, so that rendering finds a value by an offset instead of a choice of 36.
"""

from libc.stdint cimport uint8_t, uint16_t

from fastproxy.http1.head cimport FIELD_IDS, FIELD_OTHER
from fastproxy.template.table cimport (
    PART_FIELD, PART_LAPSE, PART_LITERAL, PART_NUMBER, PART_OTHER, PART_SECONDS, PART_STATUS,
    PART_TEXT, Scene,
    VAR_AUTHORITY, VAR_BACKEND, VAR_BYTES_IN, VAR_BYTES_OUT, VAR_CLIENT_IP, VAR_CLIENT_PORT,
    VAR_END_STATE, VAR_HEADER, VAR_HOST, VAR_LISTENER, VAR_LITERAL, VAR_METHOD, VAR_PATH,
    VAR_PEER_IP, VAR_PROTOCOL, VAR_QUERY, VAR_REQUEST_ID, VAR_RETRIES, VAR_ROUTE, VAR_SCHEME,
    VAR_SERVER_PORT, VAR_STATUS, VAR_TARGET, VAR_TIME_CONNECT, VAR_TIME_FIRST_BYTE, VAR_TIME_ISO,
    VAR_TIME_LOCAL, VAR_TIME_TOTAL, VAR_UPSTREAM, VAR_WORKER)


cdef struct PartPlace:
    uint8_t kind                # PartKind
    uint16_t at


cdef inline PartPlace place_of(uint8_t kind, Scene *scene, void *member) noexcept nogil:
    """`member`: of this scene, of which nothing is read."""
    cdef PartPlace place
    place.kind = kind
    place.at = <uint16_t> (<char *> member - <char *> scene)
    return place


cdef inline PartPlace part_place(uint8_t variable, uint16_t arg) noexcept nogil:
    cdef Scene scene
    if variable == VAR_LITERAL:
        return place_of(PART_LITERAL, &scene, &scene)
    if variable == VAR_HEADER:
        return place_of(
            PART_FIELD if FIELD_OTHER < arg < FIELD_IDS else PART_OTHER, &scene, &scene)
    if VAR_STATUS <= variable <= VAR_RETRIES or variable == VAR_WORKER:
        return number_place(variable, &scene)
    if variable == VAR_CLIENT_PORT or variable == VAR_SERVER_PORT:
        return number_place(variable, &scene)
    return text_place(variable, &scene)


cdef inline PartPlace number_place(uint8_t variable, Scene *scene) noexcept nogil:
    if variable == VAR_STATUS:
        return place_of(PART_STATUS, scene, &scene.status)
    elif variable == VAR_BYTES_IN:
        return place_of(PART_NUMBER, scene, &scene.bytes_in)
    elif variable == VAR_BYTES_OUT:
        return place_of(PART_NUMBER, scene, &scene.bytes_out)
    elif variable == VAR_TIME_TOTAL:
        return place_of(PART_SECONDS, scene, &scene.time_total_us)
    elif variable == VAR_TIME_CONNECT:
        return place_of(PART_LAPSE, scene, &scene.time_connect_us)
    elif variable == VAR_TIME_FIRST_BYTE:
        return place_of(PART_LAPSE, scene, &scene.time_first_byte_us)
    elif variable == VAR_RETRIES:
        return place_of(PART_NUMBER, scene, &scene.retries)
    elif variable == VAR_WORKER:
        return place_of(PART_NUMBER, scene, &scene.worker)
    elif variable == VAR_CLIENT_PORT:
        return place_of(PART_NUMBER, scene, &scene.client_port)
    return place_of(PART_NUMBER, scene, &scene.server_port)


cdef inline PartPlace text_place(uint8_t variable, Scene *scene) noexcept nogil:
    if variable == VAR_CLIENT_IP:
        return place_of(PART_TEXT, scene, &scene.client_ip)
    elif variable == VAR_PEER_IP:
        return place_of(PART_TEXT, scene, &scene.peer_ip)
    elif variable == VAR_SCHEME:
        return place_of(PART_TEXT, scene, &scene.scheme)
    elif variable == VAR_HOST:
        return place_of(PART_TEXT, scene, &scene.host)
    elif variable == VAR_AUTHORITY:
        return place_of(PART_TEXT, scene, &scene.authority)
    elif variable == VAR_METHOD:
        return place_of(PART_TEXT, scene, &scene.method)
    elif variable == VAR_TARGET:
        return place_of(PART_TEXT, scene, &scene.target)
    elif variable == VAR_PATH:
        return place_of(PART_TEXT, scene, &scene.path)
    elif variable == VAR_QUERY:
        return place_of(PART_TEXT, scene, &scene.query)
    elif variable == VAR_REQUEST_ID:
        return place_of(PART_TEXT, scene, &scene.request_id)
    elif variable == VAR_ROUTE:
        return place_of(PART_TEXT, scene, &scene.route)
    elif variable == VAR_UPSTREAM:
        return place_of(PART_TEXT, scene, &scene.upstream)
    elif variable == VAR_BACKEND:
        return place_of(PART_TEXT, scene, &scene.backend)
    elif variable == VAR_LISTENER:
        return place_of(PART_TEXT, scene, &scene.listener)
    elif variable == VAR_END_STATE:
        return place_of(PART_TEXT, scene, &scene.end_state)
    elif variable == VAR_TIME_LOCAL:
        return place_of(PART_TEXT, scene, &scene.time_local)
    elif variable == VAR_TIME_ISO:
        return place_of(PART_TEXT, scene, &scene.time_iso)
    elif variable == VAR_PROTOCOL:
        return place_of(PART_TEXT, scene, &scene.protocol)
    return place_of(PART_OTHER, scene, scene)
