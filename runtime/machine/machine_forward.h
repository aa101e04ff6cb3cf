/* machine_forward.h - messages from outside that one node takes in for an actor of another: ids and answers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An id belongs to its actor, so the node of the actor is where it is known, and where the answer is kept; whichever
 * node takes a request, it is handled once. A message that needs this crosses the link wrapped: FORWARDED_SEND with an
 * id, FORWARDED_ASK with or without one. Its body is the id (16 bytes; zeros for none), then the body.
 *
 *     node that takes it                          node of the actor
 *     asker <- number, a hash                     number of its own, as any ask from outside
 *     FORWARDED_ASK (from: this node, number) --> known id? else into the inbox; META "return/.." (returns.h)
 *     asker is told  <-------- RESPONSE (row) --- answered, in the same epoch
 *
 * "This node" is an address of the type troupe/asker, with a key in a slot of that node: so it is on rows and links
 * what any address is. A RESPONSE for a number that nobody waits for, as after a crash or a timeout, is dropped: who
 * still wants to know asks again with the id, on any node. The numbers are hashes with the incarnation in them, so that
 * none ever stands for two asks. */
#ifndef TROUPE_RUNTIME_MACHINE_MACHINE_FORWARD_H
#define TROUPE_RUNTIME_MACHINE_MACHINE_FORWARD_H

#include "runtime/machine/machine.h"

#define TROUPE__RETURN_PREFIX "return/"
enum { TROUPE__RETURN_ROW_KEY_SIZE = 7 + 8 + 8 };

/* Put a message from outside into the outbox to the node of `to`. `ret_number` is of an ask. Errors, with the machine's
 * error: TROUPE_ENOMEM; TROUPE_EINVAL: this node owns no slot, so that no answer could come back. */
enum troupe_error troupe__machine_forward(struct troupe__machine *machine, const char *id, struct troupe__actor *to,
                                          const char *type, struct troupe_bytes body, enum troupe__message_kind kind,
                                          uint64_t *ret_number);

/* One of the three kinds has come, for this node. The message is the machine's on TROUPE_OK. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_take_forwarded(struct troupe__machine *machine, struct troupe__message *message);

/* The body of any message on its way, as its actor will get it; false: it is for no actor. */
bool troupe__forwarded_body(const struct troupe__message *message, struct troupe_bytes *ret);

/* Ask `number` is answered: so are those who wait for it on other nodes. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_answer_returns(struct troupe__machine *machine, uint64_t number,
                                                 const struct troupe__answer *answer);

/* Forget who cannot wait any more. */
void troupe__machine_expire_returns(struct troupe__machine *machine);

/* At the start: a META row with that prefix, and a key of that size. Errors: TROUPE_ECORRUPT, TROUPE_ENOMEM. */
enum troupe_error troupe__machine_start_return(struct troupe__machine *machine, struct troupe_bytes key, bool removed,
                                               struct troupe_bytes value);

#endif
