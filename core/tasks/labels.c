/* labels.c - words that decide whether an English review is for or against something. They were written down for
 * fm_augment_options.labels; they are a default, and no lexicon. */
#include "tasks/tasks.h"

static const char *const words[] = {
    /* for */
    "good", "great", "best", "better", "excellent", "wonderful", "beautiful", "perfect", "funny", "fun", "love",
    "loved", "like", "liked", "enjoy", "enjoyed", "enjoyable", "well", "nice", "favorite", "favourite", "recommend",
    "recommended", "amazing", "brilliant", "interesting", "fine", "happy", "charming", "masterpiece",
    /* against */
    "bad", "worse", "worst", "terrible", "awful", "horrible", "boring", "poor", "poorly", "badly", "stupid", "hate",
    "hated", "dull", "waste", "wasted", "avoid", "mess", "disappointing", "disappointed", "annoying", "ridiculous",
    "lame", "weak", "sad", "fails", "failed", "unfortunately",
    /* turning one into the other */
    "not", "no", "never", "nothing", "none", "without", "hardly", "barely", "too"};

const char *const *fm_augment_sentiment(size_t *count)
{
    *count = sizeof words / sizeof *words;
    return words;
}
