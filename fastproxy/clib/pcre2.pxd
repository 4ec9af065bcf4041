# SPDX-License-Identifier: MIT
"""The part of PCRE2 (8 bit) that fastproxy uses. Declarations only; pcre2api(3) is the reference.

`pcre2_match` allocates nothing for a JIT-compiled pattern; an interpreted one may grow its match
data up to the heap limit. Match data is written by each match: one per worker, never shared.
"""

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #define PCRE2_CODE_UNIT_WIDTH 8
    #include <pcre2.h>
    """

cdef extern from "<pcre2.h>" nogil:
    ctypedef struct pcre2_code:
        pass
    ctypedef struct pcre2_match_data:
        pass
    ctypedef struct pcre2_match_context:
        pass
    ctypedef struct pcre2_compile_context:
        pass
    ctypedef struct pcre2_general_context:
        pass
    ctypedef struct pcre2_jit_stack:
        pass

    enum:
        PCRE2_CASELESS
        PCRE2_DOLLAR_ENDONLY
        PCRE2_NEVER_UTF
        PCRE2_NEVER_UCP
        PCRE2_NEVER_BACKSLASH_C
        PCRE2_JIT_COMPLETE
        PCRE2_INFO_CAPTURECOUNT
        PCRE2_INFO_NAMECOUNT
        PCRE2_INFO_NAMEENTRYSIZE
        PCRE2_INFO_NAMETABLE
        PCRE2_ERROR_NOMATCH
        PCRE2_ERROR_MATCHLIMIT

    const size_t PCRE2_UNSET

    pcre2_code *pcre2_compile(const unsigned char *pattern, size_t length, uint32_t options,
                              int *error, size_t *offset, pcre2_compile_context *context) noexcept
    int pcre2_jit_compile(pcre2_code *code, uint32_t options) noexcept
    void pcre2_code_free(pcre2_code *code) noexcept
    int pcre2_pattern_info(const pcre2_code *code, uint32_t what, void *where) noexcept
    int pcre2_get_error_message(int error, unsigned char *buffer, size_t length) noexcept

    pcre2_match_data *pcre2_match_data_create(uint32_t pairs,
                                              pcre2_general_context *context) noexcept
    void pcre2_match_data_free(pcre2_match_data *data) noexcept
    pcre2_match_context *pcre2_match_context_create(pcre2_general_context *context) noexcept
    void pcre2_match_context_free(pcre2_match_context *context) noexcept
    int pcre2_set_match_limit(pcre2_match_context *context, uint32_t limit) noexcept
    int pcre2_set_depth_limit(pcre2_match_context *context, uint32_t limit) noexcept
    int pcre2_set_heap_limit(pcre2_match_context *context, uint32_t kibibytes) noexcept
    pcre2_jit_stack *pcre2_jit_stack_create(size_t start, size_t maximum,
                                            pcre2_general_context *context) noexcept
    void pcre2_jit_stack_free(pcre2_jit_stack *stack) noexcept
    void pcre2_jit_stack_assign(pcre2_match_context *context, void *callback,
                                void *data) noexcept

    int pcre2_match(const pcre2_code *code, const unsigned char *subject, size_t length,
                    size_t start, uint32_t options, pcre2_match_data *data,
                    pcre2_match_context *context) noexcept
    size_t *pcre2_get_ovector_pointer(pcre2_match_data *data) noexcept
