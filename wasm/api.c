/* api.c - the functions that the WebAssembly module exports, and all the host sees of the core. web/engine.js is the
 * host's side; the two change together, and ABI with them.
 *
 * Only numbers cross the border. Texts and files are pointers and sizes of memory that the host gets from api_alloc;
 * results are memory that the host gives back to api_free. A function that returns a pointer returns NULL on failure,
 * one that returns a number 0; api_error tells what went wrong. All calls come from one thread but for api_thread.
 * What is done with an open model is asked in JSON (core/service).
 */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "service/service.h"

#define ABI 7

static fm_error problem;   /* of the last call that failed */
static size_t result_size; /* bytes of the last result */
static fm_service *service;

/* ---- memory, errors, threads ---- */

int api_abi(void)
{
    return ABI;
}

/* Whether the kernels compute what they should on this machine. */
int api_check(void)
{
    return fm_cpu_check(fm_cpu_instruction_sets()[0]);
}

void *api_alloc(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    if (!memory) fm_fail_memory(&problem, size, "data of the program");
    return memory;
}

void api_free(void *memory)
{
    free(memory);
}

/* The name of what went wrong, and its sentence. */
const char *api_error(void)
{
    return fm_status_name(problem.status);
}

const char *api_error_text(void)
{
    return problem.text;
}

/* Bytes of the last result that api_free takes. */
size_t api_size(void)
{
    return result_size;
}

/* See fm_pool_crew and fm_pool_serve. */
void api_threads(int threads)
{
    fm_pool_crew(threads);
}

void api_thread(int number)
{
    fm_pool_serve(number);
}

/* The GPU's kernels, for web/gpu.js. */
const char *api_kernels(void)
{
    static const char kernels[] =
#include "kernels.inc"
        ;
    return kernels;
}

/* ---- hashes ---- */

typedef struct hash {
    char digest[65];
    fm_sha256 state;
} hash;

/* SHA-256 in parts: without a hash it starts one, without data it ends it. The result, which api_free takes, is then
 * the digest in hexadecimal. */
hash *api_hash(hash *h, const void *data, size_t size)
{
    if (!h) {
        h = api_alloc(sizeof *h);
        if (h) fm_sha256_start(&h->state);
    } else if (data) fm_sha256_add(&h->state, data, size);
    else fm_sha256_end(&h->state, h->digest);
    return h;
}

/* ---- models ---- */

static bool have_service(void)
{
    return service || !fm_service_create(&service, true, &problem);
}

/* A tokenizer from the bytes of its files; NULL for those that are not there. Returns the number that requests name it
 * by. */
uint32_t api_tokenizer(const char *json, size_t json_size, const char *vocab, size_t vocab_size, const char *config,
                       size_t config_size)
{
    fm_tokenizer *tokenizer;
    uint32_t number = 0;
    const fm_tokenizer_files files = {json, vocab, config, json_size, vocab_size, config_size};
    fm_status status = have_service() ? FM_OK : problem.status;
    if (!status) status = fm_tokenizer_open_memory(&tokenizer, &files, &problem);
    if (!status) fm_service_add_tokenizer(service, tokenizer, &number, &problem);
    return number;
}

/* A model whose weights are still to come; set is "" for the best instruction set, type an fm_stored_type that they
 * become, or FM_AS_STORED. */
fm_model *api_begin(const char *json, size_t json_size, const char *vocab, size_t vocab_size,
                    const char *tokenizer_config, size_t tokenizer_config_size, const char *config, size_t config_size,
                    const char *set, size_t set_size, int type)
{
    char name[32] = "";
    const fm_model_files files = {
        .config = config,
        .config_size = config_size,
        .tokenizer = {json, vocab, tokenizer_config, json_size, vocab_size, tokenizer_config_size}};
    const fm_model_options options = {.instruction_set = set_size > 0 ? name : NULL};
    fm_model *model;
    memcpy(name, set, set_size < sizeof name ? set_size : sizeof name - 1);
    fm_model_begin(&model, &files, &options, type, &problem);
    return model;
}

/* A part of model.safetensors, which may go afterwards; without data, random weights. Returns 1. */
int api_push(fm_model *model, const void *data, size_t size)
{
    return !(data ? fm_model_push(model, data, size, &problem) : fm_service_push_random(model, &problem));
}

/* The end of the weights. Returns the number that requests name the model by; the model is gone on failure. */
uint32_t api_end(fm_model *model)
{
    uint32_t number = 0;
    if (!have_service() || fm_model_end(model, &problem)) fm_model_close(model);
    else fm_service_add_model(service, model, &number, &problem);
    return number;
}

/* Gives up a model whose weights are still to come. */
void api_drop(fm_model *model)
{
    fm_model_close(model);
}

/* Lets a GPU compute for a model, which the host plays lists on; limit: bytes of a binding at most, 0 for the cpu.
 * Returns 1. */
int api_use_gpu(uint32_t number, uint32_t limit)
{
    fm_backend *backend = NULL;
    fm_status status = have_service() ? FM_OK : problem.status;
    if (!status && limit > 0) status = fm_webgpu_create(&backend, limit, false, &problem);
    if (!status) status = fm_service_use(service, number, backend, &problem);
    return !status;
}

/* The model as model.safetensors; type is an fm_stored_type. */
void *api_save(uint32_t number, int type)
{
    uint8_t *data;
    fm_model *m = have_service() ? fm_service_model(service, number, &problem) : NULL;
    if (!m || fm_weights_floats(&m->weights, &m->parameters, &problem)) return NULL;
    fm_status status =
        fm_weights_build(&data, &result_size, &m->parameters, m->weights.values, (fm_stored_type)type, &problem);
    fm_model_drop_floats(m);
    return status ? NULL : data;
}

/* A training's checkpoint as a file, and its state from one. */
void *api_checkpoint(uint32_t number)
{
    uint8_t *data;
    fm_trainer *t = have_service() ? fm_service_trainer(service, number, false, &problem) : NULL;
    return t && !fm_checkpoint_build(t, &data, &result_size, &problem) ? data : NULL;
}

int api_resume(uint32_t number, const void *data, size_t size)
{
    fm_trainer *t = have_service() ? fm_service_trainer(service, number, true, &problem) : NULL;
    return t && !fm_checkpoint_read(t, data, size, &problem);
}

/* ---- requests ---- */

extern int progress(double done, double total); /* the host's */

static bool tell(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    return progress((double)done, (double)total) != 0;
}

/* Carries out a request in JSON; returns its answer. */
char *api_call(const char *request, size_t size)
{
    fm_buffer answer = {0};
    fm_status status = have_service() ? FM_OK : problem.status;
    if (!status) status = fm_service_call(service, request, size, tell, NULL, &answer, &problem);
    if (status) fm_buffer_free(&answer);
    result_size = answer.size;
    return answer.data;
}
