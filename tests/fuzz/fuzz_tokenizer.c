/* fuzz_tokenizer.c - bytes from outside into core/tokenizer. The first byte picks: text for fixed tokenizers, a
 * vocab.txt from memory, a tokenizer.json, or a vocab.txt in a folder (both with a tokenizer_config.json after a NUL),
 * or texts between NULs to train a vocabulary of. Whatever opens also encodes the input and decodes the result.
 *
 *   clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -D_POSIX_C_SOURCE=200809L -Icore \
 *     tests/fuzz/fuzz_tokenizer.c core/tokenizer/[a-z]*.c core/base/[a-z]*.c -lcjson -lpthread -lm
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char vocab[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nmovie\n##s\nun\n##aff\n##able\na\n##a\ni\n##i\n!\n.\n"
    "e\n##e\n\xc3\xa9\n##\xc3\xa9\n\xe1\x84\x80\n##\xe1\x85\xa1\n\xe4\xb8\xad\n\xf0\x9f\x98\x80\n"
    "##\xcc\x87\n#\n[\n]\nsixteen0letters1\nsixteen0letters12\n'\nn't\n";

/* What must hold for any text and any tokenizer. */
static void use(const fm_tokenizer *tokenizer, const char *text, size_t size)
{
    fm_encoding encoding = {0}, again = {0};
    fm_error err = {0};
    if (fm_tokenizer_encode(tokenizer, text, size, false, &encoding, &err)) abort();
    if (encoding.count > size) abort();
    uint32_t start = 0, end = 0, word = 0;
    for (size_t i = 0; i < encoding.count; i++) {
        fm_span span = encoding.offsets[i];
        if (encoding.ids[i] >= fm_tokenizer_size(tokenizer)) abort();
        if (span.start >= span.end || span.end > size || span.start < start || span.end < end) abort();
        start = span.start;
        end = span.end;
        if (encoding.words[i] == UINT32_MAX) {
            if (!fm_tokenizer_is_special(tokenizer, encoding.ids[i])) abort();
            continue;
        }
        if (encoding.words[i] < word) abort();
        word = encoding.words[i];
    }
    if (fm_tokenizer_encode(tokenizer, text, size, true, &again, &err) || again.count != encoding.count + 2) abort();
    if (encoding.count > 0 && memcmp(again.ids + 1, encoding.ids, encoding.count * sizeof *encoding.ids) != 0) abort();
    for (int options = 0; options < 4; options++) {
        char *decoded;
        if (fm_tokenizer_decode(tokenizer, again.ids, again.count, options & 1, options & 2, &decoded, &err)) abort();
        if (strlen(decoded) > again.count * 1001) abort();
        free(decoded);
    }
    fm_encoding_free(&encoding);
    fm_encoding_free(&again);
}

/* Uses and closes what opened; what did not must have left a sentence. */
static void finish(fm_status status, const fm_error *err, fm_tokenizer *tokenizer, const char *text, size_t size)
{
    if (status) {
        if (tokenizer || err->status != status || !err->text[0]) abort();
        return;
    }
    for (uint32_t id = 0; id < fm_tokenizer_size(tokenizer); id++) {
        const char *token = fm_tokenizer_token(tokenizer, id);
        uint32_t found;
        if (!fm_tokenizer_find(tokenizer, token, strlen(token), &found) || found != id) abort();
    }
    fm_tokenizer_hash(tokenizer);
    use(tokenizer, text, size);
    use(tokenizer, vocab, sizeof vocab - 1);
    fm_tokenizer_close(tokenizer);
}

static void open_memory(const char *text, size_t size, bool lowercase)
{
    fm_tokenizer *tokenizer;
    fm_error err = {0};
    fm_status status = fm_tokenizer_from_vocab(&tokenizer, text, size, lowercase, &err);
    finish(status, &err, tokenizer, text, size);
}

static const char *folder(void)
{
    static char name[] = "/tmp/fillmask-fuzz-XXXXXX";
    static bool made;
    if (!made && !mkdtemp(name)) abort();
    made = true;
    return name;
}

static void put(const char *name, const char *text, size_t size)
{
    char path[100];
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(text, 1, size, file) != size || fclose(file)) abort();
}

/* The input as the file of this name, up to the first NUL, and as a tokenizer_config.json from there on. */
static void open_folder(const char *name, const char *text, size_t size)
{
    const char *config = memchr(text, '\0', size);
    size_t first = config ? (size_t)(config - text) : size;
    put(name, text, first);
    if (config) put("tokenizer_config.json", config + 1, size - first - 1);
    fm_tokenizer *tokenizer;
    fm_error err = {0};
    fm_status status = fm_tokenizer_open(&tokenizer, folder(), &err);
    finish(status, &err, tokenizer, text, size);
    char path[100];
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    remove(path);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder());
    remove(path);
}

/* Trains on the texts between NULs: what comes out opens, and leaves no character of theirs unknown. */
static void train(const char *text, size_t size, bool lowercase)
{
    fm_vocab_trainer *trainer;
    fm_error err = {0};
    if (fm_vocab_trainer_create(&trainer, lowercase, &err)) abort();
    for (size_t at = 0; at < size;) {
        const char *here = text + at, *end = memchr(here, '\0', size - at);
        size_t length = end ? (size_t)(end - here) : size - at;
        if (fm_vocab_trainer_add(trainer, NULL, &here, &length, 1, &err)) abort();
        at += length + 1;
    }
    char *made;
    size_t made_size;
    fm_status status = fm_vocab_trainer_finish(trainer, 100000, 0, 0x110000, NULL, NULL, &made, &made_size, &err);
    if (status && status != FM_E_ARGUMENT) abort(); /* there were no words */
    if (!status) open_memory(made, made_size, lowercase);
    free(made);
    fm_vocab_trainer_destroy(trainer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fm_tokenizer *fixed[2];
    for (int i = 0; i < 2; i++)
        if (!fixed[i] && fm_tokenizer_from_vocab(&fixed[i], vocab, sizeof vocab - 1, i == 0, NULL)) abort();
    if (size == 0) return 0;
    const char *text = (const char *)data + 1;
    uint8_t kind = data[0] < 0xf8 ? data[0] / 2 % 4 : 4; /* training takes fifty times as long as the others */
    bool odd = data[0] % 2;
    size--;
    if (kind == 0) use(fixed[odd], text, size);
    else if (kind == 1) open_memory(text, size, odd);
    else if (kind == 2) open_folder("tokenizer.json", text, size);
    else if (kind == 3) open_folder("vocab.txt", text, size);
    else train(text, size, odd);
    return 0;
}
