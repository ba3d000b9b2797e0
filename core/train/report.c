/* report.c - the picture of a training: its log as one SVG file without scripts, fonts or links. Losses with their
 * perplexity and the evaluations above, the learning rate below. What is in the log is log.c's business. */
#include "train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In pixels. The two panels share their left and right edge. */
enum { WIDTH = 880, HEIGHT = 500, LEFT = 60, RIGHT = 820, TOP = 84, BOTTOM = 364, RATE_TOP = 400, RATE_BOTTOM = 456 };

#define MOST_POINTS 700 /* of a line; more are averaged */
#define TICKS 6

typedef struct picture {
    fm_buffer svg;
    const fm_log *log;
    fm_log_point *line; /* steps, averaged */
    size_t count;
    double steps, most_rate;    /* the ranges that are shown */
    double least, most, spread; /* of the losses; spread: from tick to tick */
} picture;

/* ---- numbers ---- */

/* The next of 1, 2, 5, 10, 20, ... times a power of ten. */
static double round_spread(double spread)
{
    double power = pow(10.0, floor(log10(spread))), times = spread / power;
    return power * (times <= 1.0 ? 1.0 : times <= 2.0 ? 2.0 : times <= 5.0 ? 5.0 : 10.0);
}

static double x_of(const picture *p, double step)
{
    return LEFT + (RIGHT - LEFT) * step / p->steps;
}

static double y_of(const picture *p, double loss)
{
    return BOTTOM - (BOTTOM - TOP) * (loss - p->least) / (p->most - p->least);
}

static double rate_y_of(const picture *p, double rate)
{
    return RATE_BOTTOM - (RATE_BOTTOM - RATE_TOP) * rate / p->most_rate;
}

/* Also keeps what is computed from it finite. */
static bool can_be_shown(double loss)
{
    return loss > -1e6 && loss < 1e6;
}

/* 12,345 */
static void add_grouped(fm_buffer *out, uint64_t number)
{
    if (number >= 1000) {
        add_grouped(out, number / 1000);
        fm_buffer_format(out, ",%03u", (unsigned)(number % 1000));
    } else fm_buffer_format(out, "%u", (unsigned)number);
}

/* Of a loss, to three figures or whole. */
static void add_perplexity(fm_buffer *out, double loss)
{
    double perplexity = exp(loss);
    if (perplexity < 100.0) fm_buffer_format(out, "%.3g", perplexity);
    else if (perplexity < 1e9) add_grouped(out, (uint64_t)(perplexity + 0.5));
    else fm_buffer_text(out, "over 1,000,000,000");
}

/* Any text, such as a file's name, between tags: well-formed UTF-8 without markup. */
static void add_escaped(fm_buffer *out, const char *text)
{
    fm_buffer clean = {0};
    fm_buffer_json(&clean, text, strlen(text)); /* mends what is not UTF-8 and shows control characters */
    for (size_t i = 1; i + 1 < clean.size; i++) {
        if (clean.data[i] == '&') fm_buffer_text(out, "&amp;");
        else if (clean.data[i] == '<') fm_buffer_text(out, "&lt;");
        else if (clean.data[i] == '>') fm_buffer_text(out, "&gt;");
        else fm_buffer_add(out, clean.data + i, 1);
    }
    out->failed = out->failed || clean.failed;
    fm_buffer_free(&clean);
}

/* ---- what is shown ---- */

/* The steps of the log in at most MOST_POINTS means. */
static fm_status average(picture *p, fm_error *err)
{
    size_t steps = 0, each, in = 0;
    for (size_t i = 0; i < p->log->count; i++) steps += !p->log->points[i].evaluation;
    p->line = calloc(steps + 1, sizeof *p->line);
    if (!p->line) return fm_fail_memory(err, steps * sizeof *p->line, "the picture of a training");
    each = (steps + MOST_POINTS - 1) / MOST_POINTS;
    for (size_t i = 0; i < p->log->count; i++) {
        const fm_log_point *point = &p->log->points[i];
        if (point->evaluation || !can_be_shown(point->loss)) continue;
        fm_log_point *mean = &p->line[p->count];
        mean->loss += (point->loss - mean->loss) / (double)++in;
        mean->learning_rate = point->learning_rate;
        mean->step = point->step;
        if (in < each) continue;
        p->count++;
        in = 0;
    }
    p->count += in > 0;
    return FM_OK;
}

static void find_ranges(picture *p)
{
    double least = INFINITY, most = -INFINITY;
    p->steps = 1.0;
    for (size_t i = 0; i < p->log->count; i++) p->steps = fmax(p->steps, (double)p->log->points[i].step);
    for (size_t i = 0; i < p->count; i++) {
        least = fmin(least, p->line[i].loss);
        most = fmax(most, p->line[i].loss);
        p->most_rate = fmax(p->most_rate, p->line[i].learning_rate);
    }
    for (size_t i = 0; i < p->log->count; i++)
        if (p->log->points[i].evaluation && can_be_shown(p->log->points[i].loss)) {
            least = fmin(least, p->log->points[i].loss);
            most = fmax(most, p->log->points[i].loss);
        }
    if (!(most >= least)) least = most = 0.0; /* nothing to show */
    if (most - least < 0.01) {
        least -= 0.05;
        most += 0.05;
    }
    if (p->most_rate <= 0.0) p->most_rate = 1.0;
    p->spread = round_spread((most - least) / TICKS);
    p->least = floor(least / p->spread) * p->spread;
    p->most = ceil(most / p->spread) * p->spread;
}

/* ---- drawing ---- */

static void add_style(fm_buffer *out)
{
    fm_buffer_format(out,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n"
                     "<style>\n"
                     "text { font: 12px system-ui, sans-serif; fill: #57606a }\n"
                     "polyline, line { fill: none } circle { stroke: #fff; stroke-width: 1.5 }\n"
                     ".paper { fill: #fff } .title { font-size: 18px; font-weight: 600; fill: #24292f }\n"
                     ".grid { stroke: #e3e7eb } .end { text-anchor: end } .middle { text-anchor: middle }\n"
                     ".each { stroke: #4078c0; stroke-opacity: 0.35 } .loss { stroke: #4078c0; stroke-width: 2 }\n"
                     ".eval { stroke: #d9560b; stroke-width: 1.5 } .point { fill: #d9560b } .value { fill: #d9560b }\n"
                     ".rate { fill: #2f9e6e; fill-opacity: 0.25; stroke: #2f9e6e }\n"
                     "@media (prefers-color-scheme: dark) {\n"
                     "  text { fill: #9aa4af } .paper { fill: #16191d } .title { fill: #e6e9ec }\n"
                     "  .grid { stroke: #2b3138 } circle { stroke: #16191d }\n"
                     "}\n</style>\n<rect class=\"paper\" width=\"100%%\" height=\"100%%\"/>\n",
                     WIDTH, HEIGHT, WIDTH, HEIGHT);
}

/* The mean of a line's neighbourhood, of which the ends have one side. */
static double smoothed(const picture *p, size_t at)
{
    size_t reach = p->count / 40 + 1;
    size_t first = at > reach ? at - reach : 0, last = at + reach < p->count ? at + reach : p->count - 1;
    double sum = 0.0;
    for (size_t i = first; i <= last; i++) sum += p->line[i].loss;
    return sum / (double)(last - first + 1);
}

static void add_heading(picture *p, const char *title)
{
    fm_buffer *out = &p->svg;
    const fm_log_point *last = NULL, *evaluation = NULL;
    for (size_t i = 0; i < p->log->count; i++) {
        const fm_log_point *point = &p->log->points[i];
        if (point->evaluation) evaluation = point;
        else last = point;
    }
    fm_buffer_format(out, "<text class=\"title\" x=\"%d\" y=\"34\">", LEFT);
    add_escaped(out, title);
    fm_buffer_format(out, "</text>\n<text x=\"%d\" y=\"56\">", LEFT);
    if (last) {
        add_grouped(out, last->step);
        fm_buffer_format(out, " steps, %.1f million tokens, %.0f s; loss %.3f", last->tokens / 1e6, last->seconds,
                         p->count > 0 ? smoothed(p, p->count - 1) : last->loss);
    }
    if (evaluation) {
        fm_buffer_format(out, "%sevaluation: loss %.3f, perplexity ", last ? "; " : "", evaluation->loss);
        add_perplexity(out, evaluation->loss);
        fm_buffer_format(out, ", top-1 %.1f %%", 100.0 * evaluation->accuracy);
    }
    fm_buffer_text(out, "</text>\n");
}

static void add_axes(picture *p)
{
    fm_buffer *out = &p->svg;
    int decimals = p->spread < 0.01 ? 3 : p->spread < 0.1 ? 2 : p->spread < 1.0 ? 1 : 0;
    for (double loss = p->least; loss < p->most + p->spread / 2; loss += p->spread) {
        double y = y_of(p, loss);
        fm_buffer_format(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, RIGHT, y, y);
        fm_buffer_format(out, "<text class=\"end\" x=\"%d\" y=\"%.1f\">%.*f</text>", LEFT - 8, y + 4, decimals, loss);
        fm_buffer_format(out, "<text x=\"%d\" y=\"%.1f\">", RIGHT + 8, y + 4);
        add_perplexity(out, loss);
        fm_buffer_text(out, "</text>\n");
    }
    double spread = fmax(round_spread(p->steps / TICKS), 1.0);
    for (double step = 0.0; step <= p->steps; step += spread) {
        double x = x_of(p, step);
        fm_buffer_format(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", x, x, TOP, BOTTOM);
        fm_buffer_format(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", x, x, RATE_TOP,
                         RATE_BOTTOM);
        fm_buffer_format(out, "<text class=\"middle\" x=\"%.1f\" y=\"%d\">", x, RATE_BOTTOM + 18);
        add_grouped(out, (uint64_t)step);
        fm_buffer_text(out, "</text>\n");
    }
    fm_buffer_format(out, "<text class=\"end\" x=\"%d\" y=\"%d\">%.2g</text>", LEFT - 8, RATE_TOP + 6, p->most_rate);
    fm_buffer_format(out, "<text class=\"end\" x=\"%d\" y=\"%d\">0</text>\n", LEFT - 8, RATE_BOTTOM + 4);
    fm_buffer_format(out, "<text class=\"end\" x=\"%d\" y=\"%d\">loss</text>", LEFT - 8, TOP - 12);
    fm_buffer_format(out, "<text x=\"%d\" y=\"%d\">perplexity</text>", RIGHT - 8, TOP - 12);
    fm_buffer_format(out, "<text x=\"%d\" y=\"%d\">learning rate</text>", LEFT, RATE_TOP - 8);
    fm_buffer_format(out, "<text class=\"end\" x=\"%d\" y=\"%d\">step</text>\n", RIGHT, RATE_BOTTOM + 34);
}

/* The means as they are, thin, and smoothed. */
static void add_losses(picture *p)
{
    fm_buffer *out = &p->svg;
    for (int smooth = 0; smooth < 2; smooth++) {
        fm_buffer_format(out, "<polyline class=\"%s\" points=\"", smooth ? "loss" : "each");
        for (size_t i = 0; i < p->count; i++)
            fm_buffer_format(out, "%.1f,%.1f ", x_of(p, (double)p->line[i].step),
                             y_of(p, smooth ? smoothed(p, i) : p->line[i].loss));
        fm_buffer_text(out, "\"/>\n");
    }
}

static void add_evaluations(picture *p)
{
    fm_buffer *out = &p->svg, points = {0};
    const fm_log_point *last = NULL;
    fm_buffer_text(out, "<polyline class=\"eval\" points=\"");
    for (size_t i = 0; i < p->log->count; i++) {
        const fm_log_point *e = &p->log->points[i];
        if (!e->evaluation || !can_be_shown(e->loss)) continue;
        last = e;
        double x = x_of(p, (double)e->step), y = y_of(p, e->loss);
        fm_buffer_format(out, "%.1f,%.1f ", x, y);
        fm_buffer_format(&points, "<circle class=\"point\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>step ", x, y);
        add_grouped(&points, e->step);
        fm_buffer_format(&points, ": loss %.4f, perplexity ", e->loss);
        add_perplexity(&points, e->loss);
        fm_buffer_format(&points, ", top-1 %.1f %%</title></circle>\n", 100.0 * e->accuracy);
    }
    fm_buffer_text(out, "\"/>\n");
    fm_buffer_add(out, points.data, points.size);
    out->failed = out->failed || points.failed;
    fm_buffer_free(&points);
    if (!last) return;
    double x = x_of(p, (double)last->step), y = y_of(p, last->loss);
    fm_buffer_format(out, "<text class=\"end value\" x=\"%.1f\" y=\"%.1f\">%.3f</text>\n", x - 8,
                     y - 10 < TOP + 12 ? y + 20 : y - 10, last->loss);
}

static void add_legend(picture *p)
{
    fm_buffer_format(&p->svg,
                     "<line class=\"loss\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\">training, "
                     "masked tokens</text>\n",
                     LEFT + 420, LEFT + 444, TOP - 16, TOP - 16, LEFT + 450, TOP - 12);
    fm_buffer_format(&p->svg,
                     "<circle class=\"point\" cx=\"%d\" cy=\"%d\" r=\"4\"/><text x=\"%d\" y=\"%d\">evaluation</text>\n",
                     LEFT + 618, TOP - 16, LEFT + 628, TOP - 12);
}

static void add_rates(picture *p)
{
    fm_buffer *out = &p->svg;
    if (p->count == 0) return;
    fm_buffer_format(out, "<polygon class=\"rate\" points=\"%.1f,%d ", x_of(p, (double)p->line[0].step), RATE_BOTTOM);
    for (size_t i = 0; i < p->count; i++)
        fm_buffer_format(out, "%.1f,%.1f ", x_of(p, (double)p->line[i].step), rate_y_of(p, p->line[i].learning_rate));
    fm_buffer_format(out, "%.1f,%d\"/>\n", x_of(p, (double)p->line[p->count - 1].step), RATE_BOTTOM);
}

fm_status fm_report_write(const char *path, const fm_log *log, const char *title, fm_error *err)
{
    picture p = {.log = log};
    fm_status status = average(&p, err);
    if (!status) {
        find_ranges(&p);
        add_style(&p.svg);
        add_heading(&p, title);
        add_axes(&p);
        add_legend(&p);
        add_losses(&p);
        add_evaluations(&p);
        add_rates(&p);
        fm_buffer_text(&p.svg, "</svg>\n");
        status = p.svg.failed ? fm_fail_memory(err, p.svg.size, "the picture of a training")
                              : fm_file_replace(path, p.svg.data, p.svg.size, err);
    }
    fm_buffer_free(&p.svg);
    free(p.line);
    return status;
}
