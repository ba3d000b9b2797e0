/* runner.c - how tasks use the network: they hand in sequences, which run packed in batches bounded by tokens. What a
 * sequence means, and what is done with its results, is the task's own. */
#include "tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS 2048 /* of a batch */
#define ROWS 256    /* sequences, and masked rows, of a batch */

/* Rounded up, so that texts of about one length share a network. */
static uint32_t bounded(uint32_t most, uint32_t need, uint32_t least)
{
    uint32_t room = least;
    while (room < need && room < most) room *= 2;
    return room < most ? room : most;
}

fm_status fm_runner_open(fm_runner *r, fm_model *model, fm_run run, const fm_room *need, fm_error *err)
{
    uint32_t positions = model->config.positions;
    *r = (fm_runner){.model = model, .run = run};
    if (positions < 3)
        return fm_fail(err, FM_E_LIMIT, "The model has %u positions, too few for a token between [CLS] and [SEP].",
                       positions);
    r->room =
        (fm_room){positions > TOKENS ? positions : TOKENS, ROWS, positions / 2 > ROWS ? positions / 2 : ROWS, false};
    if (need) {
        r->room.tokens = bounded(r->room.tokens, need->tokens, 128);
        r->room.sequences = bounded(r->room.sequences, need->sequences, 8);
        r->room.masked = bounded(r->room.masked, need->masked, 8);
    }
    r->ids = calloc(r->room.tokens, sizeof *r->ids);
    r->starts = calloc((size_t)r->room.sequences + 1, sizeof *r->starts);
    r->rows = calloc(r->room.masked, sizeof *r->rows);
    r->labels = calloc(r->room.masked, sizeof *r->labels);
    if (r->ids && r->starts && r->rows && r->labels) return FM_OK;
    fm_runner_free(r);
    return fm_fail_memory(err, r->room.tokens * sizeof *r->ids, "a batch of sequences");
}

void fm_runner_free(fm_runner *r)
{
    if (r->model && r->model->runner == r) r->model->runner = NULL;
    free(r->ids);
    free(r->starts);
    free(r->rows);
    free(r->labels);
    free(r->results);
    r->ids = r->starts = r->rows = r->labels = NULL;
    r->results = NULL;
}

uint32_t fm_runner_longest(const fm_runner *r)
{
    return r->model->config.positions - 2;
}

bool fm_runner_fits(const fm_runner *r, uint32_t tokens, uint32_t masked)
{
    return r->sequences < r->room.sequences && tokens + 2 <= r->room.tokens - r->tokens &&
           masked <= r->room.masked - r->masked;
}

uint32_t fm_runner_add(fm_runner *r, const uint32_t *ids, uint32_t count)
{
    fm_special_ids special = fm_tokenizer_special(r->model->tokenizer);
    uint32_t row = r->tokens + 1;
    r->ids[r->tokens] = special.cls;
    memcpy(r->ids + row, ids, count * sizeof *ids);
    r->ids[row + count] = special.sep;
    r->tokens += count + 2;
    r->starts[++r->sequences] = r->tokens;
    return row;
}

uint32_t fm_runner_ask(fm_runner *r, uint32_t row, uint32_t label)
{
    r->rows[r->masked] = row;
    r->labels[r->masked] = label;
    return r->masked++;
}

void fm_runner_clear(fm_runner *r)
{
    r->tokens = r->sequences = r->masked = 0;
    if (r->model->runner == r) r->model->runner = NULL;
}

static fm_status begin(fm_runner *r, fm_error *err)
{
    const fm_batch batch = {.tokens = r->tokens,
                            .sequences = r->sequences,
                            .masked = r->masked,
                            .ids = r->ids,
                            .starts = r->starts,
                            .rows = r->rows,
                            .labels = r->labels};
    const fm_run_options options = {.run = r->run};
    fm_network *network;
    fm_status status = fm_model_network(r->model, &r->room, &network, err);
    if (!status) status = fm_network_begin(network, &batch, &options, err);
    if (!status) r->model->runner = r;
    return status;
}

/* Room for the numbers of another batch, which stays when the runner is gone. */
static fm_status keep_answer(fm_answers *all, size_t size, float **numbers, fm_error *err)
{
    if (all->count == all->capacity) {
        size_t capacity = all->capacity * 2 + 8;
        struct fm_answer *larger = realloc(all->list, capacity * sizeof *larger);
        if (!larger) return fm_fail_memory(err, capacity * sizeof *larger, "a list of answers");
        all->list = larger;
        all->capacity = capacity;
    }
    *numbers = malloc(size > 0 ? size : 1);
    if (!*numbers) return fm_fail_memory(err, size, "the results of a batch");
    all->list[all->count++] = (struct fm_answer){*numbers, size};
    return FM_OK;
}

/* Room for the results, of `size` bytes. */
static fm_status make_results(fm_runner *r, size_t *bytes, fm_error *err)
{
    const fm_config *config = &r->model->config;
    size_t width = r->run == FM_RUN_HIDDEN ? config->hidden : r->run == FM_RUN_LOSS ? 2 : config->vocab_size, size;
    if (!fm_size_mul(r->run == FM_RUN_HIDDEN ? r->tokens : r->masked, width * sizeof *r->results, &size))
        return fm_fail_memory(err, SIZE_MAX, "the results of a batch");
    if (size > r->capacity) {
        free(r->results);
        r->capacity = 0;
        r->results = malloc(size);
        if (!r->results) return fm_fail_memory(err, size, "the results of a batch");
        r->capacity = size;
    }
    *bytes = size;
    return FM_OK;
}

static fm_status read_results(fm_runner *r, fm_error *err)
{
    fm_model *m = r->model;
    const fm_ops *ops = m->backend->ops;
    size_t size;
    fm_status status = make_results(r, &size, err);
    float *to = r->results;
    if (!status && ops->later) status = keep_answer(&m->answers, size, &to, err);
    if (status) return status;
    if (r->run == FM_RUN_HIDDEN) fm_network_read_hidden(m->network, to);
    else if (r->run == FM_RUN_LOSS) fm_network_read_losses(m->network, to);
    else fm_network_read_logits(m->network, to);
    status = ops->finish(m->backend, err);
    if (!status && ops->later) {
        memcpy(r->results, to, size);
        m->answers.next = m->answers.count;
    }
    return status;
}

/* Takes the results of a batch that was computed when the request was made before. */
static fm_status take_answer(fm_runner *r, fm_error *err)
{
    size_t size;
    fm_status status = make_results(r, &size, err);
    if (status) return status;
    const struct fm_answer *answer = &r->model->answers.list[r->model->answers.next++];
    if (answer->size != size)
        return fm_fail(err, FM_E_DEVICE, "A batch of %zu bytes has become one of %zu; ask again.", answer->size, size);
    memcpy(r->results, answer->numbers, size);
    return FM_OK;
}

fm_status fm_runner_step(fm_runner *r, bool *done, fm_error *err)
{
    *done = r->model->answers.next < r->model->answers.count;
    if (*done) return take_answer(r, err);
    if (r->model->runner != r) return begin(r, err);
    if (fm_network_advance(r->model->network)) return FM_OK;
    *done = true;
    return read_results(r, err);
}

fm_status fm_runner_finish(fm_runner *r, fm_progress progress, void *context, uint64_t done, uint64_t total,
                           fm_error *err)
{
    fm_status status = FM_OK;
    for (bool finished = false; !finished && !status;) {
        status = fm_runner_step(r, &finished, err);
        if (!status && progress && !progress(context, done, total))
            status = fm_fail(err, FM_E_ABORTED, "Stopped after %llu of %llu tokens.", (unsigned long long)done,
                             (unsigned long long)total);
    }
    return status;
}

size_t fm_window_start(size_t count, size_t length, size_t place)
{
    if (count <= length || place < length / 2) return 0;
    size_t start = place - length / 2;
    return start < count - length ? start : count - length;
}
