/* tasks.h - the door of core/tasks: a model folder opened for work, behind the fm_model of the public header. */
#ifndef FM_TASKS_H
#define FM_TASKS_H

#include "model/model.h"
#include "tokenizer/tokenizer.h"

struct fm_model {
    fm_tokenizer *tokenizer;
    fm_config config;
    fm_parameters parameters;
    fm_weights weights;
    fm_backend *backend;
    fm_network *network; /* made when it is first needed */
    fm_room room;        /* that it has */
};

/* The network for inference, with at least this room; it stays the model's. Whoever calls this again with more room
 * gets another one, and the former is gone. */
fm_status fm_model_network(fm_model *model, const fm_room *room, fm_network **network, fm_error *err);

#endif
