/* train_loop.c - `fillmask train` from the first step to the last: progress, log, evaluations, saving. The steps
 * themselves are core/train's. */
#include "cli/train_run.h"

#include <math.h>
#include <string.h>

/* ---- files ---- */

static fm_status draw(const train_run *run, fm_error *err)
{
    fm_log log;
    fm_status status = fm_log_read(&log, run->metrics, err);
    if (!status) status = fm_report_write(run->picture, &log, run->o->output, err);
    fm_log_free(&log);
    return status;
}

static fm_status save_model(train_run *run, fm_error *err)
{
    fm_status status = fm_trainer_values(run->trainer, run->values, err);
    return status ? status : fm_weights_save(run->tensors, &run->parameters, run->pointers, FM_STORED_F32, err);
}

/* Of the steps since the line before. */
static fm_status log_steps(train_run *run, fm_error *err)
{
    const fm_train_report *r = fm_trainer_report(run->trainer);
    if (run->unlogged == 0) return FM_OK;
    run->unlogged = 0;
    char norm[40] = "null"; /* JSON has no infinity */
    if (isfinite(r->norm)) snprintf(norm, sizeof norm, "%.4f", r->norm);
    fm_buffer line = {0};
    fm_buffer_format(&line, "{\"step\": %llu, \"epoch\": %.4f, \"loss\": %.5f, \"learning_rate\": %.4g, \"norm\": %s",
                     (unsigned long long)r->step, r->epoch, run->summed > 0 ? run->sum / run->summed : run->shown_loss,
                     r->learning_rate, norm);
    fm_buffer_format(&line, ", \"tokens\": %llu, \"seconds\": %.2f}\n", (unsigned long long)r->tokens,
                     run->before + fm_seconds() - run->started);
    run->sum = 0.0;
    run->summed = 0;
    fm_status status = fm_log_add(run->metrics, &line, err);
    fm_buffer_free(&line);
    return status;
}

/* The checkpoint to go on from, then the model, unless that is to be the best so far: whoever finds only one of them
 * new has the step that counts. */
static fm_status save(train_run *run, fm_error *err)
{
    fm_status status = log_steps(run, err);
    if (!status) status = fm_checkpoints_save(run->trainer, run->o->output, (uint32_t)run->o->keep_checkpoints, err);
    if (!status && !(run->o->keep_best && fm_file_exists(run->tensors))) status = save_model(run, err);
    return status ? status : draw(run, err);
}

/* ---- evaluation ---- */

/* What the evaluations in the log say. They are compared as they are written there, so that a resumed training decides
 * as one that was not stopped. */
typedef struct verdict {
    bool logged;   /* there is one of this step */
    bool best;     /* the last one is better than all before */
    uint32_t last; /* how many came after the best */
} verdict;

static fm_status judge(const train_run *run, uint64_t step, verdict *v, fm_error *err)
{
    fm_log log;
    double least = INFINITY;
    *v = (verdict){0};
    fm_status status = fm_log_read(&log, run->metrics, err);
    for (size_t i = 0; i < log.count && !status; i++) {
        if (!log.points[i].evaluation) continue;
        v->best = log.points[i].loss < least;
        v->last = v->best ? 0 : v->last + 1;
        v->logged = log.points[i].step == step;
        if (v->best) least = log.points[i].loss;
    }
    fm_log_free(&log);
    return status;
}

static fm_status measure(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    const fm_room room = fm_trainer_room(run->trainer);
    /* Those of `fillmask eval`, whatever the training's are, so that trainings compare. */
    const fm_masking masking = {
        0.15f,         false, (uint32_t)o->eval_seed, run->config.vocab_size, fm_tokenizer_special(run->tokenizer),
        FM_BERT_SHARES};
    fm_evaluator *evaluator;
    fm_status status = fm_evaluator_create(&evaluator, fm_trainer_network(run->trainer), run->backend, &room,
                                           run->measured, run->tokenizer, &masking, run->length,
                                           (uint32_t)o->eval_chunks, o->eval_chunks ? 0 : (uint32_t)o->eval_limit, err);
    if (!status) status = cli_evaluate(evaluator, o->quiet, err);
    if (!status) run->last = *fm_evaluator_result(evaluator);
    fm_evaluator_destroy(evaluator);
    return status;
}

static fm_status log_evaluation(const train_run *run, uint64_t step, fm_error *err)
{
    double masked = (double)run->last.masked, loss = run->last.loss / masked;
    fm_buffer line = {0};
    fm_buffer_format(&line, "{\"step\": %llu, \"epoch\": %.4f, \"eval\": {", (unsigned long long)step,
                     fm_trainer_report(run->trainer)->epoch);
    cli_evaluation_json(&line, &run->last);
    fm_buffer_text(&line, "}}\n");
    fm_status status = fm_log_add(run->metrics, &line, err);
    fm_buffer_free(&line);
    if (!run->o->quiet)
        fprintf(stderr, "step %llu: evaluation loss %.4f, perplexity %.2f, top-1 %.2f %%\n", (unsigned long long)step,
                loss, exp(loss), 100.0 * (double)run->last.top1 / masked);
    return status;
}

/* Measures, writes it down unless the log has it already, keeps the model if it is the best, and finds out whether to
 * go on. */
static fm_status evaluate(train_run *run, fm_error *err)
{
    uint64_t step = fm_trainer_report(run->trainer)->step;
    verdict v;
    fm_status status = log_steps(run, err);
    if (!status) status = measure(run, err);
    if (!status) status = judge(run, step, &v, err);
    if (!status && !v.logged) status = log_evaluation(run, step, err);
    if (!status) status = judge(run, step, &v, err);
    if (!status && v.best && run->o->keep_best) status = save_model(run, err);
    if (status) return status;
    run->last_step = step;
    run->stopped = run->o->patience > 0 && v.last >= (uint64_t)run->o->patience;
    return FM_OK;
}

/* ---- the loop ---- */

static void note_loss(train_run *run, const fm_train_report *r, cli_progress *progress)
{
    if (!isfinite(r->norm)) {
        snprintf(progress->note, sizeof progress->note, "step %llu skipped: its gradient is not finite",
                 (unsigned long long)r->step);
        return;
    }
    run->sum += r->loss;
    run->summed++;
    run->shown_loss += (r->loss - run->shown_loss) * (run->shown_loss == 0.0 ? 1.0 : 0.02);
    snprintf(progress->note, sizeof progress->note, "loss %.3f, %.0f tokens/s", run->shown_loss,
             (double)(r->tokens - run->first_tokens) / (fm_seconds() - run->started));
}

static void begin_progress(const train_run *run, cli_progress *progress)
{
    cli_progress_begin(progress, "Training", "steps", run->o->quiet);
    progress->first = progress->done = fm_trainer_report(run->trainer)->step;
}

/* Whether an evaluation belongs to the step just made. */
static bool is_due(const train_run *run)
{
    const fm_train_report *r = fm_trainer_report(run->trainer);
    uint64_t every = (uint64_t)run->o->eval_every;
    if (!run->measured) return false;
    return r->step == 0 ? run->model || run->o->eval_chunks > 0 : every ? r->step % every == 0 : r->epoch_ended;
}

static fm_status after_step(train_run *run, cli_progress *progress, fm_error *err)
{
    const train_options *o = run->o;
    const fm_train_report *r = fm_trainer_report(run->trainer);
    uint64_t total = fm_trainer_steps(run->trainer), each = total <= 2000 ? 1 : 20;
    fm_status status = FM_OK;
    note_loss(run, r, progress);
    run->unlogged++;
    if (r->step % each == 0 || r->step == total) status = log_steps(run, err);
    if (r->step == total) return status;
    if (!status && is_due(run)) {
        cli_progress_end(progress);
        status = evaluate(run, err);
        begin_progress(run, progress);
    }
    if (!status && o->save_every && r->step % (uint64_t)o->save_every == 0) status = save(run, err);
    return status;
}

static fm_status make_steps(train_run *run, fm_error *err)
{
    uint64_t total = fm_trainer_steps(run->trainer);
    const fm_train_report *r = fm_trainer_report(run->trainer);
    cli_progress progress;
    fm_status status = FM_OK;
    begin_progress(run, &progress);
    while (!status && r->step < total && !run->stopped) {
        bool stepped;
        status = fm_trainer_advance(run->trainer, &stepped, err);
        if (!status && stepped) status = after_step(run, &progress, err);
        if (!status && !cli_progress_step(&progress, r->step, total)) status = FM_E_ABORTED;
    }
    cli_progress_end(&progress);
    return status;
}

fm_status train_loop(train_run *run, fm_error *err)
{
    const fm_train_report *r = fm_trainer_report(run->trainer);
    fm_status status = FM_OK;
    verdict v;
    run->started = fm_seconds();
    status = judge(run, r->step, &v, err);
    run->stopped = !status && run->o->patience > 0 && v.last >= (uint64_t)run->o->patience;
    if (!status && is_due(run) && !v.logged)
        status = evaluate(run, err); /* a resumed one may have been cut off in it */
    if (r->step == 0) run->start = run->last;
    if (!status) status = make_steps(run, err);
    if (!status) status = save(run, err);
    if (!status && run->measured && (run->last.masked == 0 || run->last_step != r->step)) {
        status = evaluate(run, err);
        if (!status) status = draw(run, err);
    }
    if (!status) status = train_write_card(run, err);
    if (status != FM_E_ABORTED) return status;
    status = save(run, err);
    if (status) return status;
    return fm_fail(err, FM_E_ABORTED,
                   "Stopped after step %llu of %llu and saved; the same command with --resume goes on.",
                   (unsigned long long)r->step, (unsigned long long)fm_trainer_steps(run->trainer));
}

static void add_evaluation(fm_buffer *out, const char *name, const fm_evaluation *evaluation)
{
    if (evaluation->masked == 0) return;
    fm_buffer_format(out, ", \"%s\": {", name);
    cli_evaluation_json(out, evaluation);
    fm_buffer_text(out, "}");
}

void train_summary(const train_run *run, fm_buffer *out)
{
    const fm_train_report *r = fm_trainer_report(run->trainer);
    double seconds = fm_seconds() - run->started, tokens = (double)(r->tokens - run->first_tokens);
    double rate = seconds > 0.0 ? tokens / seconds : 0.0;
    if (run->o->json) {
        fm_buffer_text(out, "{\"output\": ");
        fm_buffer_json(out, run->o->output, strlen(run->o->output));
        fm_buffer_format(out, ", \"documents\": %llu, \"chunks\": %u", (unsigned long long)run->corpus.documents,
                         run->chunks);
        fm_buffer_format(out, ", \"steps\": %llu, \"resumed_from\": %llu, \"tokens\": %llu, \"loss\": %.5f",
                         (unsigned long long)r->step, (unsigned long long)run->first_step,
                         (unsigned long long)r->tokens, run->shown_loss);
        fm_buffer_format(out, ", \"seconds\": %.1f, \"tokens_per_second\": %.0f", seconds, rate);
        add_evaluation(out, "eval_before", &run->start);
        add_evaluation(out, "eval", &run->last);
        fm_buffer_text(out, "}\n");
        return;
    }
    fm_buffer_format(out, "%s: %llu steps, %.1f million tokens, %.0f s, %.0f tokens/s, last losses near %.4f\n",
                     run->o->output, (unsigned long long)r->step, (double)r->tokens / 1e6, seconds, rate,
                     run->shown_loss);
    if (run->last.masked == 0) return;
    double masked = (double)run->last.masked, loss = run->last.loss / masked;
    fm_buffer_format(out, "evaluation: loss %.4f, perplexity %.2f, top-1 %.2f %%\n", loss, exp(loss),
                     100.0 * (double)run->last.top1 / masked);
}
