/* progress.c - how far long work is, on stderr: one line in place on a terminal, a line now and then elsewhere. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR 24

void cli_progress_begin(cli_progress *progress, const char *label, const char *unit, bool quiet)
{
    const char *term = getenv("TERM");
    *progress = (cli_progress){.label = label, .unit = unit, .quiet = quiet};
    progress->terminal = isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
    progress->started = progress->shown = fm_seconds();
    cli_catch_signals();
}

/* "12.3 MB" or "340 steps". */
static void add_amount(fm_buffer *line, const cli_progress *progress, double amount)
{
    if (progress->unit)
        fm_buffer_format(line, amount < 10 && amount > 0 ? "%.1f %s" : "%.0f %s", amount, progress->unit);
    else if (amount < 1e6) fm_buffer_format(line, "%.0f kB", amount / 1e3);
    else if (amount < 1e9) fm_buffer_format(line, "%.1f MB", amount / 1e6);
    else fm_buffer_format(line, "%.2f GB", amount / 1e9);
}

static void add_time(fm_buffer *line, double seconds)
{
    unsigned long whole = seconds > 0 && seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 0;
    if (whole >= 3600) fm_buffer_format(line, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    else fm_buffer_format(line, "%lu:%02lu", whole / 60, whole % 60);
}

static void add_bar(fm_buffer *line, double share)
{
    bool colour = cli_colour(stderr);
    int full = (int)(share * BAR);
    fm_buffer_text(line, colour ? " [\033[32m" : " [");
    for (int i = 0; i < BAR; i++) {
        if (i == full && colour) fm_buffer_text(line, "\033[0m");
        fm_buffer_text(line, i < full ? "#" : ".");
    }
    fm_buffer_text(line, colour ? "\033[0m]" : "]");
}

static void show(cli_progress *progress, uint64_t total, double now)
{
    double elapsed = now - progress->started, done = (double)progress->done;
    double share = total == 0 ? 0 : done > (double)total ? 1 : done / (double)total;
    double rate = elapsed > 0 ? (done - (double)progress->first) / elapsed : 0;
    fm_buffer line = {0};
    fm_buffer_format(&line, "%s%s", progress->terminal ? "\r\033[K" : "", progress->label);
    if (total && progress->terminal) add_bar(&line, share);
    if (total) fm_buffer_format(&line, " %3.0f%%", 100 * share);
    fm_buffer_text(&line, "  ");
    add_amount(&line, progress, done);
    if (rate > 0) {
        fm_buffer_text(&line, ", ");
        add_amount(&line, progress, rate);
        fm_buffer_text(&line, "/s");
    }
    if (rate > 0 && share < 1 && total > 0) {
        fm_buffer_text(&line, ", ");
        add_time(&line, ((double)total - done) / rate);
        fm_buffer_text(&line, " left");
    }
    if (*progress->note) fm_buffer_format(&line, "  %s", progress->note);
    fm_buffer_text(&line, progress->terminal ? "" : "\n");
    if (!line.failed) fwrite(line.data, 1, line.size, stderr);
    fm_buffer_free(&line);
    progress->drawn = true;
    progress->shown = now;
}

bool cli_progress_step(void *context, uint64_t done, uint64_t total)
{
    cli_progress *progress = context;
    progress->done = done;
    double now = fm_seconds();
    if (!progress->quiet && now - progress->shown >= (progress->terminal ? 0.2 : 10)) show(progress, total, now);
    return !cli_interrupted();
}

/* What the whole took; nothing if it was over before anything was shown. */
void cli_progress_end(cli_progress *progress)
{
    if (!progress->drawn) return;
    double elapsed = fm_seconds() - progress->started;
    fm_buffer line = {0};
    fm_buffer_format(&line, "%s%s: ", progress->terminal ? "\r\033[K" : "", progress->label);
    add_amount(&line, progress, (double)(progress->done - progress->first));
    fm_buffer_text(&line, " in ");
    add_time(&line, elapsed);
    if (*progress->note) fm_buffer_format(&line, "  %s", progress->note);
    fm_buffer_text(&line, "\n");
    if (!line.failed) fwrite(line.data, 1, line.size, stderr);
    fm_buffer_free(&line);
    progress->drawn = false;
}
