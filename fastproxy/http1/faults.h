/* SPDX-License-Identifier: MIT
 * Everything a peer's bytes may be refused for: one line each. `status` is the answer when a client
 * did it; an upstream's fault is always 502. The text may be shown to the peer. */
#ifndef FASTPROXY_FAULTS_H
#define FASTPROXY_FAULTS_H
#include <stdint.h>

/*     NAME                status  text */
#define FASTPROXY_FAULTS(X)                                                       \
    X(NONE,                   0, "no fault")                                      \
    X(REQUEST_LINE_LONG,    414, "start line too long")                           \
    X(METHOD_BAD,           400, "bad method")                                    \
    X(TARGET_BAD,           400, "bad byte in the request target")                \
    X(TARGET_FORM,          400, "request target of no known form")               \
    X(VERSION_BAD,          400, "bad HTTP version")                              \
    X(VERSION_UNKNOWN,      505, "HTTP version not supported")                    \
    X(STATUS_BAD,           400, "bad status code")                               \
    X(REASON_BAD,           400, "bad byte in the reason phrase")                 \
    X(BARE_CR,              400, "CR without LF")                                 \
    X(BARE_LF,              400, "LF without CR")                                 \
    X(FIELD_LONG,           431, "header field too long")                         \
    X(FIELDS_LONG,          431, "header section too long")                       \
    X(FIELDS_MANY,          431, "too many header fields")                        \
    X(NAME_EMPTY,           400, "empty field name")                              \
    X(NAME_BAD,             400, "bad byte in a field name")                      \
    X(NAME_SPACE,           400, "space before the colon of a field")             \
    X(COLON_MISSING,        400, "field without colon")                           \
    X(OBS_FOLD,             400, "folded header line")                            \
    X(VALUE_BAD,            400, "control character in a field value")            \
    X(LENGTH_AND_CODING,    400, "both Content-Length and Transfer-Encoding")     \
    X(LENGTH_BAD,           400, "bad Content-Length")                            \
    X(LENGTH_TWICE,         400, "more than one Content-Length")                  \
    X(CODING_BAD,           400, "bad Transfer-Encoding")                         \
    X(CODING_TWICE,         400, "more than one Transfer-Encoding")               \
    X(CODING_UNKNOWN,       501, "transfer coding not implemented")               \
    X(CODING_VERSION,       400, "Transfer-Encoding in an HTTP/1.0 message")      \
    X(CODING_STATUS,        400, "Transfer-Encoding where no body can be")        \
    X(HOST_MISSING,         400, "no Host")                                       \
    X(HOST_TWICE,           400, "more than one Host")                            \
    X(HOST_BAD,             400, "bad Host")                                      \
    X(EXPECT_UNKNOWN,       417, "expectation not known")                         \
    X(BODY_VERSION,         413, "HTTP/1.0 request of this method with a body")   \
    X(CONNECTION_BAD,       400, "bad Connection")                                \
    X(AUTHORITY_BAD,        400, "bad authority in the request target")           \
    X(PATH_BAD,             400, "bad byte in the path")                          \
    X(PATH_ESCAPE,          400, "bad percent escape in the path")                \
    X(PATH_CONTROL,         400, "control character in the path")                 \
    X(PATH_BACKSLASH,       400, "backslash in the path")                         \
    X(PATH_OVERLONG,        400, "overlong UTF-8 in the path")                    \
    X(PATH_SLASH,           400, "encoded slash in the path")                     \
    X(PATH_ABOVE_ROOT,      400, "path goes above its root")                      \
    X(PATH_DOT_PARAMETER,   400, "dot segment with a parameter in the path")      \
    X(PATH_LONG,            414, "path too long")                                 \
    X(CHUNK_SIZE_BAD,       400, "bad chunk size")                                \
    X(CHUNK_SIZE_LONG,      400, "chunk size too large")                          \
    X(CHUNK_EXTENSION_BAD,  400, "bad chunk extension")                           \
    X(CHUNK_EXTENSION_LONG, 400, "chunk extensions too long")                     \
    X(CHUNK_END_BAD,        400, "chunk data not followed by CRLF")               \
    X(TRAILER_BAD,          400, "bad trailer field")                             \
    X(TRAILER_LONG,         400, "trailer section too long")

typedef enum {
#define FASTPROXY_FAULT_NAME(name, status, text) FAULT_##name,
    FASTPROXY_FAULTS(FASTPROXY_FAULT_NAME)
#undef FASTPROXY_FAULT_NAME
    FAULT_REASONS
} FaultReason;

typedef struct {
    const char *name;
    const char *text;
    uint16_t status;
} FaultRow;

static const FaultRow fault_rows[] = {
#define FASTPROXY_FAULT_ROW(name, status, text) {#name, text, status},
    FASTPROXY_FAULTS(FASTPROXY_FAULT_ROW)
#undef FASTPROXY_FAULT_ROW
};
#endif
