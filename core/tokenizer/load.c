/* load.c - reads vocab.txt, tokenizer.json and tokenizer_config.json. A tokenizer.json that asks for something else
 * than a BERT tokenizer is refused by the name of the field, never half obeyed. */
#include "tokenizer/internal.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static const char *const bert_tokens[5] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

static bool is_bert_token(const char *text, size_t size)
{
    for (int i = 0; i < 5; i++)
        if (size == strlen(bert_tokens[i]) && memcmp(text, bert_tokens[i], size) == 0) return true;
    return false;
}

static fm_vocab vocab_start(const char *name, bool lowercase)
{
    return (fm_vocab){
        .name = name, .normalizer = {true, true, lowercase, lowercase, false}, .word_chars = FM_WORD_CHARS_MAX};
}

static fm_status vocab_room(fm_vocab *vocab, size_t count, fm_error *err)
{
    if (count >= UINT32_MAX / 64)
        return fm_fail(err, FM_E_LIMIT, "%s has %zu tokens, which is too many.", vocab->name, count);
    vocab->tokens = calloc(count + 1, sizeof *vocab->tokens);
    vocab->special = calloc(count + 1, sizeof *vocab->special);
    vocab->added = calloc(count + 1, sizeof *vocab->added);
    vocab->count = vocab->model_count = (uint32_t)count;
    if (vocab->tokens && vocab->special && vocab->added) return FM_OK;
    return fm_fail_memory(err, count * (sizeof *vocab->tokens + 2), vocab->name);
}

static void vocab_free(fm_vocab *vocab)
{
    free(vocab->tokens);
    free(vocab->special);
    free(vocab->added);
}

/* ---- vocab.txt ---- */

/* One token a line; the last line may lack its end, and lines may end as on Windows. */
static fm_status read_lines(fm_vocab *vocab, const char *text, size_t size, fm_error *err)
{
    if (size >= UINT32_MAX / 2)
        return fm_fail(err, FM_E_LIMIT, "%s has %zu bytes, which is too many.", vocab->name, size);
    size_t lines = 0;
    for (size_t at = 0; at < size; at++) lines += text[at] == '\n';
    if (size > 0 && text[size - 1] != '\n') lines++;
    fm_status status = vocab_room(vocab, lines, err);
    size_t at = 0;
    for (size_t line = 0; line < lines && !status; line++) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t to = end ? (size_t)(end - text) : size, next = to + 1;
        while (to > at && text[to - 1] == '\r') to--;
        vocab->tokens[line] = (fm_token_text){text + at, (uint32_t)(to - at)};
        vocab->special[line] = vocab->added[line] = is_bert_token(text + at, to - at);
        at = next;
    }
    return status;
}

static fm_status make_from_lines(fm_tokenizer **tokenizer, fm_vocab *vocab, const char *text, size_t size,
                                 fm_error *err)
{
    fm_status status = read_lines(vocab, text, size, err);
    if (!status) status = fm_tokenizer_make(tokenizer, vocab, err);
    vocab_free(vocab);
    return status;
}

fm_status fm_tokenizer_from_vocab(fm_tokenizer **tokenizer, const char *text, size_t size, bool lowercase,
                                  fm_error *err)
{
    *tokenizer = NULL;
    fm_vocab vocab = vocab_start("the vocabulary", lowercase);
    return make_from_lines(tokenizer, &vocab, text, size, err);
}

/* ---- JSON helpers ---- */

/* A field that may be absent or null, and must be a boolean otherwise. */
static fm_status read_bool(const cJSON *object, const char *field, const char *name, bool *value, bool *given,
                           fm_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field);
    *given = item && !cJSON_IsNull(item);
    if (!*given) return FM_OK;
    if (!cJSON_IsBool(item)) return fm_fail(err, FM_E_FORMAT, "%s: \"%s\" must be true or false.", name, field);
    *value = cJSON_IsTrue(item);
    return FM_OK;
}

/* The value of a string, "" for anything else. */
static const char *string_of(const cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* A field that may be absent, and must be this string otherwise. */
static fm_status expect_string(const cJSON *object, const char *field, const char *wanted, const char *name,
                               fm_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field);
    if (!item || cJSON_IsNull(item) || strcmp(string_of(item), wanted) == 0) return FM_OK;
    return fm_fail(err, FM_E_UNSUPPORTED, "%s: \"%s\" is \"%.100s\"; only \"%s\" is supported.", name, field,
                   string_of(item), wanted);
}

/* ---- tokenizer_config.json ---- */

static fm_status read_config(fm_vocab *vocab, const cJSON *root, const char *name, fm_error *err)
{
    fm_normalizer *n = &vocab->normalizer;
    bool given, strip_given;
    fm_status status = read_bool(root, "do_lower_case", name, &n->lowercase, &given, err);
    if (!status) status = read_bool(root, "tokenize_chinese_chars", name, &n->cjk, &given, err);
    if (!status) status = read_bool(root, "strip_accents", name, &n->strip_accents, &strip_given, err);
    if (status) return status;
    n->strip_given = n->strip_given || strip_given;
    if (!n->strip_given) n->strip_accents = n->lowercase;
    static const char *const fields[5] = {"pad_token", "unk_token", "cls_token", "sep_token", "mask_token"};
    for (int i = 0; i < 5 && !status; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, fields[i]);
        if (cJSON_IsObject(item)) /* an AddedToken written out */
            status = expect_string(item, "content", bert_tokens[i], name, err);
        else status = expect_string(root, fields[i], bert_tokens[i], name, err);
    }
    return status;
}

static fm_status parse_config(fm_vocab *vocab, const void *data, size_t size, const char *name, fm_error *err)
{
    cJSON *root = NULL;
    fm_status status = fm_json_parse(&root, data, size, name, err);
    if (!status && !cJSON_IsObject(root)) status = fm_fail(err, FM_E_FORMAT, "%s must be an object.", name);
    if (!status) status = read_config(vocab, root, name, err);
    cJSON_Delete(root);
    return status;
}

/* ---- tokenizer.json ---- */

static fm_status read_normalizer(fm_vocab *vocab, const cJSON *root, fm_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "normalizer");
    const char *type = string_of(cJSON_GetObjectItemCaseSensitive(item, "type"));
    if (!cJSON_IsObject(item) || strcmp(type, "BertNormalizer") != 0)
        return fm_fail(err, FM_E_UNSUPPORTED, "%s: normalizer.type is \"%.100s\"; only BertNormalizer is supported.",
                       vocab->name, type);
    fm_normalizer *n = &vocab->normalizer;
    bool given;
    fm_status status = read_bool(item, "clean_text", vocab->name, &n->clean, &given, err);
    if (!status) status = read_bool(item, "handle_chinese_chars", vocab->name, &n->cjk, &given, err);
    if (!status) status = read_bool(item, "lowercase", vocab->name, &n->lowercase, &given, err);
    n->strip_accents = n->lowercase;
    if (!status) status = read_bool(item, "strip_accents", vocab->name, &n->strip_accents, &n->strip_given, err);
    const cJSON *splitter = cJSON_GetObjectItemCaseSensitive(root, "pre_tokenizer");
    if (!status && !cJSON_IsObject(splitter))
        status = fm_fail(err, FM_E_UNSUPPORTED, "%s: pre_tokenizer must be an object of type BertPreTokenizer.",
                         vocab->name);
    return status ? status : expect_string(splitter, "type", "BertPreTokenizer", vocab->name, err);
}

/* The first bytes of a text, for errors. */
static int shown(size_t size)
{
    return (int)(size < 100 ? size : 100);
}

/* Puts a token at its id; the ids must fill [0, count). */
static fm_status place(fm_vocab *vocab, fm_token_text given, uint64_t id, const char *where, fm_error *err)
{
    if (id >= vocab->count)
        return fm_fail(err, FM_E_FORMAT,
                       "%s: the id of \"%.*s\" in %s must be an integer below %u, the number of"
                       " tokens.",
                       vocab->name, shown(given.size), given.text, where, vocab->count);
    fm_token_text *token = &vocab->tokens[id];
    if (token->text && (token->size != given.size || memcmp(token->text, given.text, given.size) != 0))
        return fm_fail(err, FM_E_FORMAT, "%s: both \"%.*s\" and \"%.*s\" have the id %u; give one another id.",
                       vocab->name, shown(token->size), token->text, shown(given.size), given.text, (unsigned)id);
    *token = given;
    return FM_OK;
}

static fm_status read_added(fm_vocab *vocab, const cJSON *list, fm_error *err)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *content = cJSON_GetObjectItemCaseSensitive(item, "content");
        const cJSON *id_item = cJSON_GetObjectItemCaseSensitive(item, "id");
        if (!cJSON_IsString(content))
            return fm_fail(err, FM_E_FORMAT, "%s: an entry of added_tokens has no \"content\".", vocab->name);
        static const char *const fields[4] = {"single_word", "lstrip", "rstrip", "normalized"};
        bool special = false, given;
        fm_status status = read_bool(item, "special", vocab->name, &special, &given, err);
        for (int i = 0; i < 4 && !status; i++) {
            bool set = false;
            status = read_bool(item, fields[i], vocab->name, &set, &given, err);
            if (!status && set)
                status = fm_fail(err, FM_E_UNSUPPORTED,
                                 "%s: the added token \"%.100s\" has \"%s\" set, which is not"
                                 " supported; set it to false.",
                                 vocab->name, content->valuestring, fields[i]);
        }
        uint64_t id = FM_JSON_OTHER;
        size_t size = strlen(content->valuestring);
        fm_json_u64(id_item, &id);
        const fm_token_text token = {content->valuestring, (uint32_t)(size < UINT32_MAX ? size : UINT32_MAX)};
        if (!status) status = place(vocab, token, id, "added_tokens", err);
        if (status) return status;
        vocab->added[id] = true;
        vocab->special[id] = special;
    }
    /* BERT's own are found in text even where the file does not list them, as transformers sees to. */
    for (uint32_t id = 0; id < vocab->count; id++)
        if (vocab->tokens[id].text && is_bert_token(vocab->tokens[id].text, vocab->tokens[id].size))
            vocab->added[id] = vocab->special[id] = true;
    return FM_OK;
}

/* Added tokens whose id is beyond the model's vocabulary. */
static size_t count_beyond(const cJSON *list, size_t model_count)
{
    size_t beyond = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        uint64_t id;
        beyond += fm_json_u64(cJSON_GetObjectItemCaseSensitive(item, "id"), &id) && id >= model_count;
    }
    return beyond;
}

static fm_status read_model(fm_vocab *vocab, const cJSON *root, const fm_json_entries *entries, fm_error *err)
{
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(root, "model");
    if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(model, "vocab")))
        return fm_fail(err, FM_E_FORMAT, "%s: model.vocab must be an object of tokens and ids.", vocab->name);
    /* Old files have no type; what follows tells WordPiece from the others. */
    fm_status status = expect_string(model, "type", "WordPiece", vocab->name, err);
    if (!status) status = expect_string(model, "unk_token", "[UNK]", vocab->name, err);
    if (!status) status = expect_string(model, "continuing_subword_prefix", "##", vocab->name, err);
    if (status) return status;
    const cJSON *longest = cJSON_GetObjectItemCaseSensitive(model, "max_input_chars_per_word");
    uint64_t chars = FM_WORD_CHARS_MAX;
    if (longest && (!fm_json_u64(longest, &chars) || chars < 1 || chars > FM_WORD_CHARS_MAX))
        return fm_fail(err, FM_E_UNSUPPORTED, "%s: model.max_input_chars_per_word must be from 1 to %u.", vocab->name,
                       FM_WORD_CHARS_MAX);
    vocab->word_chars = (uint32_t)chars;
    const cJSON *added = cJSON_GetObjectItemCaseSensitive(root, "added_tokens");
    if (added && !cJSON_IsNull(added) && !cJSON_IsArray(added))
        return fm_fail(err, FM_E_FORMAT, "%s: added_tokens must be a list.", vocab->name);
    size_t model_count = entries->count;
    status = vocab_room(vocab, model_count + count_beyond(added, model_count), err);
    if (status) return status;
    vocab->model_count = (uint32_t)model_count;
    for (size_t i = 0; i < model_count; i++) {
        const fm_json_entry *entry = &entries->list[i];
        if (entry->value != FM_JSON_OTHER && entry->value >= model_count)
            return fm_fail(err, FM_E_FORMAT, "%s: the id %llu of \"%.*s\" leaves a gap: model.vocab has %zu tokens.",
                           vocab->name, (unsigned long long)entry->value, shown(entry->size), entry->key, model_count);
        status = place(vocab, (fm_token_text){entry->key, entry->size}, entry->value, "model.vocab", err);
        if (status) return status;
    }
    status = read_added(vocab, added, err);
    for (uint32_t id = 0; id < vocab->count && !status; id++)
        if (!vocab->tokens[id].text) status = fm_fail(err, FM_E_FORMAT, "%s: no token has the id %u.", vocab->name, id);
    return status;
}

/* ---- files ---- */

/* What the vocabulary and its options were read from, for errors. */
typedef struct file_names {
    const char *vocabulary, *config;
} file_names;

static fm_status make_from_json(fm_tokenizer **tokenizer, const fm_tokenizer_files *files, file_names names,
                                fm_error *err)
{
    cJSON *root = NULL;
    fm_json_entries entries;
    fm_vocab vocab = vocab_start(names.vocabulary, true);
    fm_status status =
        fm_json_parse_large(&root, &entries, files->json, files->json_size, "model", "vocab", vocab.name, err);
    if (!status && !cJSON_IsObject(root)) status = fm_fail(err, FM_E_FORMAT, "%s must be an object.", vocab.name);
    if (!status) status = read_normalizer(&vocab, root, err);
    if (!status) status = read_model(&vocab, root, &entries, err);
    fm_json_drop_list(&entries);
    if (!status && files->config) status = parse_config(&vocab, files->config, files->config_size, names.config, err);
    if (!status) status = fm_tokenizer_make(tokenizer, &vocab, err);
    vocab_free(&vocab);
    fm_json_entries_free(&entries);
    cJSON_Delete(root);
    return status;
}

static fm_status make_from_vocab(fm_tokenizer **tokenizer, const fm_tokenizer_files *files, file_names names,
                                 fm_error *err)
{
    fm_vocab vocab = vocab_start(names.vocabulary, true);
    fm_status status = FM_OK;
    if (files->config) status = parse_config(&vocab, files->config, files->config_size, names.config, err);
    return status ? status : make_from_lines(tokenizer, &vocab, files->vocab, files->vocab_size, err);
}

fm_status fm_tokenizer_open_memory(fm_tokenizer **tokenizer, const fm_tokenizer_files *files, fm_error *err)
{
    *tokenizer = NULL;
    const file_names names = {files->json ? "tokenizer.json" : "vocab.txt", "tokenizer_config.json"};
    if (files->json) return make_from_json(tokenizer, files, names, err);
    if (files->vocab) return make_from_vocab(tokenizer, files, names, err);
    return fm_fail(err, FM_E_ARGUMENT, "A tokenizer needs a tokenizer.json or a vocab.txt, and neither was given.");
}

/* `config` is a tokenizer_config.json, or NULL. */
static fm_status open_files(fm_tokenizer **tokenizer, const char *vocabulary, bool json, const char *config,
                            fm_error *err)
{
    fm_blob main = {0}, options = {0};
    fm_status status = fm_blob_open(&main, vocabulary, err);
    if (!status && config) status = fm_blob_open(&options, config, err);
    const fm_tokenizer_files files = {.json = (const char *)main.data,
                                      .json_size = main.size,
                                      .vocab = (const char *)main.data,
                                      .vocab_size = main.size,
                                      .config = config ? (const char *)options.data : NULL,
                                      .config_size = options.size};
    const file_names names = {vocabulary, config};
    if (!status)
        status = json ? make_from_json(tokenizer, &files, names, err) : make_from_vocab(tokenizer, &files, names, err);
    fm_blob_close(&main);
    fm_blob_close(&options);
    return status;
}

fm_status fm_tokenizer_open(fm_tokenizer **tokenizer, const char *path, fm_error *err)
{
    *tokenizer = NULL;
    char *json = fm_path_join(path, "tokenizer.json"), *text = fm_path_join(path, "vocab.txt");
    char *config = fm_path_join(path, "tokenizer_config.json");
    size_t size = strlen(path);
    fm_status status;
    if (!json || !text || !config) status = fm_fail_memory(err, size + 32, "a path");
    else {
        const char *options = fm_file_exists(config) ? config : NULL;
        if (fm_file_exists(json)) status = open_files(tokenizer, json, true, options, err);
        else if (fm_file_exists(text)) status = open_files(tokenizer, text, false, options, err);
        else if (size > 5 && strcmp(path + size - 5, ".json") == 0)
            status = open_files(tokenizer, path, true, NULL, err);
        else if (size > 4 && strcmp(path + size - 4, ".txt") == 0)
            status = open_files(tokenizer, path, false, NULL, err);
        else
            status = fm_fail(err, FM_E_IO,
                             "%.500s is neither a folder with a tokenizer.json or a vocab.txt nor a file whose name "
                             "ends in .json or .txt.",
                             path);
    }
    free(json);
    free(text);
    free(config);
    return status;
}
