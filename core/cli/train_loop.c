/* train_loop.c - `fillmask train` from the first step to the last: progress, log, evaluations, saving. The steps
 * themselves are core/train's. */
#include "cli/train_run.h"

#include <math.h>
#include <string.h>

/* ---- files ---- */

static fm_status draw(const train_run *run, fm_error *err)
{
    fm_log log;
    fm_status status = fm_log_read(&log, run->log, err);
    if (!status) status = fm_report_write(run->picture, &log, run->o->output, err);
    fm_log_free(&log);
    return status;
}

/* The checkpoint to go on from, then the model as it is: whoever finds only one of them new has the step that counts.
 */
static fm_status save(train_run *run, fm_error *err)
{
    fm_status status = fm_checkpoint_save(run->trainer, run->checkpoint, err);
    if (!status) status = fm_trainer_values(run->trainer, run->values, err);
    if (!status) status = fm_weights_save(run->tensors, &run->parameters, run->pointers, FM_STORED_F32, err);
    return status ? status : draw(run, err);
}

/* Along the way a full disk is no reason to lose what has been trained; there may be room the next time. */
static void try_to_save(train_run *run)
{
    fm_error err;
    if (save(run, &err)) fprintf(stderr, "fillmask train: Going on without saving: %s\n", err.text);
}

static fm_status log_steps(train_run *run, const fm_train_report *r, fm_error *err)
{
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
    fm_status status = fm_log_add(run->log, &line, err);
    fm_buffer_free(&line);
    return status;
}

/* ---- evaluation ---- */

static fm_status evaluate(train_run *run, uint64_t step, fm_error *err)
{
    const train_options *o = run->o;
    const fm_room room = fm_trainer_room(run->trainer);
    /* Those of `fillmask eval`, whatever the training's are, so that trainings compare. */
    const fm_masking masking = {0.15f, false, 42, run->config.vocab_size, fm_tokenizer_special(run->tokenizer)};
    fm_evaluator *evaluator;
    fm_status status =
        fm_evaluator_create(&evaluator, fm_trainer_network(run->trainer), run->backend, &room, &run->eval_corpus,
                            run->tokenizer, &masking, run->length, (uint32_t)o->eval_limit, err);
    if (!status) status = cli_evaluate(evaluator, o->quiet, err);
    if (!status) {
        run->last = *fm_evaluator_result(evaluator);
        run->last_step = step;
        fm_buffer line = {0};
        fm_buffer_format(&line, "{\"step\": %llu, \"eval\": {", (unsigned long long)step);
        cli_evaluation_json(&line, &run->last);
        fm_buffer_text(&line, "}}\n");
        status = fm_log_add(run->log, &line, err);
        fm_buffer_free(&line);
        double masked = (double)run->last.masked, loss = run->last.loss / masked;
        if (!o->quiet)
            fprintf(stderr, "step %llu: evaluation loss %.4f, perplexity %.2f, top-1 %.2f %%\n",
                    (unsigned long long)step, loss, exp(loss), 100.0 * (double)run->last.top1 / masked);
    }
    fm_evaluator_destroy(evaluator);
    return status;
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

static fm_status after_step(train_run *run, cli_progress *progress, fm_error *err)
{
    const train_options *o = run->o;
    const fm_train_report *r = fm_trainer_report(run->trainer);
    uint64_t total = fm_trainer_steps(run->trainer), each = total < 1000 ? total / 50 + 1 : 20;
    fm_status status = FM_OK;
    note_loss(run, r, progress);
    if (r->step % each == 0 || r->step == total) status = log_steps(run, r, err);
    if (r->step == total) return status;
    if (!status && run->eval_corpus.tokens > 0 && o->eval_every && r->step % (uint64_t)o->eval_every == 0) {
        cli_progress_end(progress);
        status = evaluate(run, r->step, err);
        begin_progress(run, progress);
    }
    if (!status && o->save_every && r->step % (uint64_t)o->save_every == 0) try_to_save(run);
    return status;
}

static fm_status make_steps(train_run *run, fm_error *err)
{
    uint64_t total = fm_trainer_steps(run->trainer);
    const fm_train_report *r = fm_trainer_report(run->trainer);
    cli_progress progress;
    fm_status status = FM_OK;
    begin_progress(run, &progress);
    while (!status && r->step < total) {
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
    bool evaluates = run->eval_corpus.tokens > 0;
    fm_status status = FM_OK;
    run->started = fm_seconds();
    if (evaluates && run->o->model && r->step == 0) {
        status = evaluate(run, 0, err);
        run->start = run->last;
    }
    if (!status) status = make_steps(run, err);
    if (!status) status = save(run, err);
    if (!status && evaluates) status = evaluate(run, r->step, err);
    if (!status && evaluates) status = draw(run, err);
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
