/* save.c - writes a tokenizer as transformers and tokenizers read it: vocab.txt, tokenizer_config.json and
 * tokenizer.json. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

static const char *strip_text(const fm_normalizer *normalizer)
{
    return normalizer->strip_given ? truth(normalizer->strip_accents) : "null";
}

static void add_token(fm_buffer *out, const fm_tokenizer *t, uint32_t id)
{
    fm_buffer_json(out, t->text + t->start[id], t->start[id + 1] - t->start[id] - 1);
}

static bool is_added(const fm_tokenizer *t, uint32_t id)
{
    const uint8_t *text = (const uint8_t *)t->text + t->start[id];
    return fm_trie_find(&t->added, text, t->start[id + 1] - t->start[id] - 1) != FM_NONE;
}

static void write_vocab(fm_buffer *out, const fm_tokenizer *t)
{
    for (uint32_t id = 0; id < t->size; id++) {
        fm_buffer_text(out, t->text + t->start[id]);
        fm_buffer_add(out, "\n", 1);
    }
}

static void write_config(fm_buffer *out, const fm_tokenizer *t, uint32_t max_length)
{
    const fm_normalizer *n = &t->normalizer;
    fm_buffer_format(out,
                     "{\n  \"cls_token\": \"[CLS]\",\n  \"do_lower_case\": %s,\n  \"mask_token\": \"[MASK]\",\n"
                     "  \"model_max_length\": %u,\n  \"pad_token\": \"[PAD]\",\n  \"sep_token\": \"[SEP]\",\n"
                     "  \"strip_accents\": %s,\n  \"tokenize_chinese_chars\": %s,\n"
                     "  \"tokenizer_class\": \"BertTokenizer\",\n  \"unk_token\": \"[UNK]\"\n}\n",
                     truth(n->lowercase), max_length, strip_text(n), truth(n->cjk));
}

static void write_json(fm_buffer *out, const fm_tokenizer *t)
{
    const fm_normalizer *n = &t->normalizer;
    fm_buffer_text(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n"
                        "  \"added_tokens\": [");
    const char *comma = "\n";
    for (uint32_t id = 0; id < t->size; id++) {
        if (!is_added(t, id)) continue;
        fm_buffer_format(out, "%s    {\"id\": %u, \"content\": ", comma, id);
        add_token(out, t, id);
        fm_buffer_format(out,
                         ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false,"
                         " \"special\": %s}",
                         truth(t->special[id]));
        comma = ",\n";
    }
    fm_buffer_format(out,
                     "\n  ],\n  \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": %s,"
                     " \"handle_chinese_chars\": %s, \"strip_accents\": %s, \"lowercase\": %s},\n"
                     "  \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"},\n",
                     truth(n->clean), truth(n->cjk), strip_text(n), truth(n->lowercase));
    fm_buffer_format(out,
                     "  \"post_processor\": {\"type\": \"TemplateProcessing\",\n"
                     "    \"single\": [{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}},"
                     " {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}},"
                     " {\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 0}}],\n"
                     "    \"pair\": [{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}},"
                     " {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}},"
                     " {\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 0}},"
                     " {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}},"
                     " {\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 1}}],\n"
                     "    \"special_tokens\": {\"[CLS]\": {\"id\": \"[CLS]\", \"ids\": [%u], \"tokens\": [\"[CLS]\"]},"
                     " \"[SEP]\": {\"id\": \"[SEP]\", \"ids\": [%u], \"tokens\": [\"[SEP]\"]}}},\n"
                     "  \"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true},\n"
                     "  \"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\","
                     " \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": %u, \"vocab\": {",
                     t->ids.cls, t->ids.sep, t->word_chars);
    for (uint32_t id = 0; id < t->model_size; id++) {
        fm_buffer_text(out, id ? ",\n    " : "\n    ");
        add_token(out, t, id);
        fm_buffer_format(out, ": %u", id);
    }
    fm_buffer_text(out, "\n  }}\n}\n");
}

static fm_status put(const char *folder, const char *name, fm_buffer *out, fm_error *err)
{
    char *path = out->failed ? NULL : fm_path_join(folder, name);
    fm_status status;
    if (path) status = fm_file_replace(path, out->data, out->size, err);
    else status = fm_fail_memory(err, out->capacity * 2, name);
    free(path);
    fm_buffer_free(out);
    return status;
}

fm_status fm_tokenizer_save(const fm_tokenizer *tokenizer, const char *folder, uint32_t max_length, fm_error *err)
{
    for (uint32_t id = 0; id < tokenizer->size; id++)
        if (strpbrk(fm_tokenizer_token(tokenizer, id), "\r\n"))
            return fm_fail(err, FM_E_UNSUPPORTED,
                           "the token of id %u has a line break, which a vocab.txt cannot hold; remove it to save.",
                           id);
    fm_status status = fm_make_folder(folder, err);
    fm_buffer out = {0};
    if (!status) {
        write_vocab(&out, tokenizer);
        status = put(folder, "vocab.txt", &out, err);
    }
    if (!status) {
        write_config(&out, tokenizer, max_length);
        status = put(folder, "tokenizer_config.json", &out, err);
    }
    if (!status) {
        write_json(&out, tokenizer);
        status = put(folder, "tokenizer.json", &out, err);
    }
    return status;
}
