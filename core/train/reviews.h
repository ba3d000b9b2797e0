/* reviews.h - the inside of the reader for collections of many files, shared by reviews.c, tar.c and reader.c only. */
#ifndef FM_REVIEWS_H
#define FM_REVIEWS_H

#include "train/train.h"

/* The texts of one part of the Large Movie Review Dataset, in memory, in order. */
typedef struct fm_reviews fm_reviews;
/* format: one of the FM_TEXT_IMDB ones. From the folder aclImdb, or one that holds it. */
fm_status reviews_read_folder(fm_reviews **reviews, const char *path, fm_text_format format, fm_error *err);
/* From a tar of it; `read` gives the next bytes of it, 0 at its end. */
typedef fm_status (*reviews_source)(void *context, void *to, size_t size, size_t *got, fm_error *err);
fm_status reviews_read_tar(fm_reviews **reviews, const char *name, fm_text_format format, reviews_source read,
                           void *context, fm_error *err);
/* False after the last one. */
bool reviews_next(fm_reviews *reviews, fm_document *document);
void reviews_free(fm_reviews *reviews); /* NULL is allowed */

/* What tar.c finds; all of its functions are called in the order of the archive. */
typedef struct tar_visitor {
    /* Whether the content of a file is wanted. */
    bool (*wanted)(void *context, const char *name);
    /* Room for the content of the file that is wanted, NULL without memory or beyond a limit, with *err set. */
    char *(*room)(void *context, const char *name, uint64_t size, fm_error *err);
    void *context;
} tar_visitor;
/* Reads a tar of any common kind: v7, ustar, with the long names of GNU or pax. Refuses what is damaged, cut short or
 * another format. */
fm_status tar_read(const char *name, reviews_source read, void *source, const tar_visitor *visitor, fm_error *err);
/* Whether 512 bytes look like the start of a tar. */
bool tar_recognise(const void *block);

#endif
