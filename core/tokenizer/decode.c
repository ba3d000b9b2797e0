/* decode.c - ids to text, as the reference's WordPiece decoder writes it: token by token, so that its clean-up never
 * looks across two tokens. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

/* Appends a token that follows another one. clean_up takes the space away where English has none. */
static void add_spaced(fm_buffer *text, const char *token, bool clean_up)
{
    static const char *const close[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    bool joined = false;
    for (size_t i = 0; clean_up && i < sizeof close / sizeof *close && !joined; i++)
        joined = strncmp(token, close[i], strlen(close[i])) == 0;
    if (!joined) fm_buffer_add(text, " ", 1);
    fm_buffer_text(text, token);
}

fm_status fm_tokenizer_decode(const fm_tokenizer *tokenizer, const uint32_t *ids, size_t count, bool skip_special,
                              bool clean_up, char **text, fm_error *err)
{
    *text = NULL;
    fm_buffer out = {0};
    fm_buffer_add(&out, "", 0);
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const char *token = fm_tokenizer_token(tokenizer, ids[i]);
        if (!token) {
            fm_buffer_free(&out);
            return fm_fail(err, FM_E_ARGUMENT, "id %u at position %zu is not in the vocabulary of %u tokens.", ids[i],
                           i, tokenizer->size);
        }
        if (skip_special && tokenizer->special[ids[i]]) continue;
        if (first) fm_buffer_text(&out, token);
        else if (strncmp(token, "##", 2) == 0) fm_buffer_text(&out, token + 2);
        else add_spaced(&out, token, clean_up);
        first = false;
    }
    if (out.failed) {
        fm_buffer_free(&out);
        return fm_fail_memory(err, count * 8, "decoded text");
    }
    *text = out.data;
    return FM_OK;
}
