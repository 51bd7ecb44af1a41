"""The protections of the log protocol, each with a way to switch it off, for the test of the tests.

A mutation is a patch that leaves out one protection and nothing else. ``caught_by`` says how it has
to be noticed: by which invariant or assertion. Anything else that goes wrong is no catch, since it
may come from the patch itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_bounds as bounds
from . import switches_cleaning as cleaning
from . import switches_log as log
from . import switches_once as once
from .mutation import (
    AGAIN,
    GHOSTS,
    GIVEN_UP,
    KEYS,
    LOST_EFFECTS,
    MESSAGE_ONCE,
    NOT_CONTIGUOUS,
    ONCE,
    SET_BACK,
    STUCK,
    TABLES,
    Mutation,
)
from .mutations_of_activities import OF_ACTIVITIES
from .mutations_of_border import OF_BORDER
from .mutations_of_calls import OF_CALLS
from .mutations_of_children import OF_CHILDREN
from .mutations_of_cleaning import OF_CLEANING
from .mutations_of_correlation import OF_CORRELATION
from .mutations_of_entities import OF_ENTITIES
from .mutations_of_handlers import OF_HANDLERS
from .mutations_of_handover import OF_HANDOVER
from .mutations_of_locks import OF_LOCKS
from .mutations_of_promises import OF_PROMISES
from .mutations_of_services import OF_SERVICES
from .mutations_of_updates import OF_UPDATES
from .mutations_of_views import OF_VIEWS

__all__ = ("MUTATIONS", "Mutation")


MUTATIONS: Sequence[Mutation] = (
    # --- those that the proof has to catch ---
    Mutation(
        "append",
        "effects wait for the acknowledgement",
        log.effects_at_once,
        (GHOSTS[1], "AssertionError: an effect leaves after its turn"),
        20,
        known=14,
    ),
    Mutation(
        "claims",
        "records of another epoch do not count",
        log.no_epoch_check,
        (TABLES, *NOT_CONTIGUOUS),
        50,
        known=12,
    ),
    Mutation("append", "gaps in the offsets are looked at", log.no_gap_check, GHOSTS, 50, known=11),
    Mutation(
        "append",
        "the store waits for the acknowledgement",
        log.store_at_once,
        (TABLES, *NOT_CONTIGUOUS, r"LogTruncated: shard \d: the state directory is at log offset"),
        50,
        known=16,
    ),
    Mutation(
        "keys",
        "turns name the epoch",
        log.turn_keys_without_epoch,
        (*NOT_CONTIGUOUS, KEYS, r"LogTruncated: shard \d: run \w+ is known up to its event"),
        150,
        known=11,
    ),
    Mutation(
        "counts once",
        "messages and requests are taken once",
        once.no_deduplication,
        (MESSAGE_ONCE, ONCE),
        150,
    ),
    Mutation(
        "positions",
        "turns carry the positions of the inputs",
        log.no_positions,
        ("AssertionError: an input changes history once",),
        20,
        known=1,
    ),
    Mutation("owed", "what is owed is sent again", log.nothing_owed, LOST_EFFECTS, 50),
    # --- further ones ---
    Mutation(
        "append",
        "replies wait for the acknowledgement",
        log.replies_at_once,
        (
            "AssertionError: an answer follows its turn",
            r"AssertionError: [\w-]+ was not started: Refused\(error='WorkflowNotFound'",
        ),
        50,
    ),
    Mutation(
        "append",
        "an unknown offset is a gap",
        log.unknown_offsets_believed,
        (
            *GHOSTS,
            *GIVEN_UP,
            "AssertionError: what is called delivered has arrived",
            r"LogTruncated: shard \d: run \w+ is known up to",
        ),
        200,
        known=90,
    ),
    Mutation(
        "owed", "known records may be owed", log.owed_only_if_new, LOST_EFFECTS, 200, known=33
    ),
    Mutation(
        "owed",
        "refusals that nobody waits for are kept",
        log.letters_not_owed,
        ("AssertionError: what is refused of strangers is kept",),
        200,
        known=12,
    ),
    Mutation(
        "owed",
        "records say what is delivered",
        log.delivered_too_soon,
        ("AssertionError: what is called delivered has arrived",),
        100,
        known=4,
    ),
    Mutation(
        "publish",
        "the published position is kept",
        log.published_from_the_start,
        (AGAIN,),
        20,
        known=2,
    ),
    Mutation(
        "publish",
        "a takeover asks what is published",
        bounds.published_not_asked,
        ("AssertionError: what is published is not sent again",),
        100,
    ),
    Mutation(
        "publish",
        "a mark moves the published position",
        bounds.marks_move_nothing,
        ("AssertionError: a mark moves the published position",),
        100,
    ),
    Mutation(
        "publish",
        "what is published is not counted",
        bounds.published_still_counted,
        ("AssertionError: what is published is not counted",),
        20,
        known=0,
    ),
    Mutation(
        "waiters",
        "who is answered is not counted",
        bounds.answered_still_counted,
        ("AssertionError: who is counted waits",),
        50,
        known=0,
    ),
    Mutation(
        "waiters",
        "who is forgotten is not counted",
        bounds.forgotten_still_counted,
        ("AssertionError: who is counted waits",),
        100,
        known=1,
    ),
    Mutation(
        "publish",
        "a former generation publishes nothing",
        log.former_generations_publish,
        (AGAIN, SET_BACK),
        200,
        known=18,
    ),
    Mutation(
        "publish",
        "another owner's open transaction is awaited",
        log.open_transactions_not_awaited,
        (AGAIN, SET_BACK),
        200,
        known=8,
    ),
    Mutation(
        "publish",
        "a process's own open transaction is awaited",
        log.own_transactions_not_awaited,
        (AGAIN, SET_BACK),
        200,
        known=118,
    ),
    Mutation(
        "publish",
        "a publisher that begins anew is fenced from itself",
        log.former_epochs_publish,
        (AGAIN,),
        200,
        known=8,
    ),
    Mutation(
        "publish",
        "positions are read again after an unknown outcome",
        log.positions_not_read_again,
        (AGAIN,),
        100,
        known=4,
    ),
    Mutation(
        "publish",
        "a producer that failed is thrown away",
        log.producers_kept,
        (AGAIN,),
        100,
        known=6,
    ),
    Mutation(
        "positions",
        "marks carry positions",
        log.no_marks,
        ("AssertionError: what was read is written down",),
        50,
        known=2,
    ),
    Mutation(
        "positions",
        "dead letters hold intake back",
        log.letters_not_awaited,
        ("AssertionError: no turn is past what is not buried yet",),
        150,
        known=4,
    ),
    Mutation(
        "positions",
        "all dead letters that travel together are awaited",
        log.one_letter_for_all,
        ("AssertionError: no turn is past what is not buried yet",),
        150,
        known=12,
    ),
    Mutation(
        "claims",
        "the log is folded before the first input",
        log.no_fold,
        (TABLES, *NOT_CONTIGUOUS),
        20,
    ),
    Mutation("owed", "lost attempts are reported", log.nothing_lost, (STUCK,), 50, known=11),
    Mutation(
        "counts once",
        "the next owner knows which messages were taken",
        once.origins_forgotten,
        (MESSAGE_ONCE, TABLES),
        50,
        known=4,
    ),
    Mutation(
        "counts once",
        "another log is another source",
        once.logs_confused,
        (STUCK, "AssertionError: another namespace's messages count once"),
        200,
        known=2,
    ),
    Mutation(
        "counts once",
        "reports of earlier attempts are ignored",
        once.stale_reports,
        (
            "AssertionError: a report counts for its attempt only",
            "AssertionError: an attempt goes on or is retried",
        ),
        100,
        known=6,
    ),
    Mutation(
        "counts once", "requests are taken once", once.requests_forgotten, (ONCE,), 100, known=0
    ),
    Mutation(
        "counts once", "requests with an id are taken once", once.names_forgotten, (ONCE,), 200
    ),
    Mutation(
        "counts once",
        "numbers may be missing",
        once.gaps_not_tracked,
        (STUCK, "AssertionError: every case ends as the model says"),
        100,
        known=0,
    ),
    Mutation(
        "counts once",
        "a forgotten client's request is expired",
        once.again_not_heard,
        ("AssertionError: a request that comes again never counts",),
        200,
        known=173,
    ),
    Mutation(
        "counts once",
        "what is refused leaves a record",
        once.refusals_leave_nothing,
        (
            "AssertionError: what is refused of strangers is kept",
            "AssertionError: what strangers lost is kept",
            "AssertionError: a refused start makes no run",
            "AssertionError: another namespace's messages count once",
        ),
        100,
        known=73,
    ),
    Mutation(
        "identity",
        "a run is called after the request",
        once.run_ids_by_place,
        ("AssertionError: a start is told its own run", "AssertionError: a run begins once"),
        100,
        known=69,
    ),
    Mutation(
        "identity",
        "a command is for its own chain",
        once.chains_not_compared,
        ("AssertionError: who ends a chain ends no other one",),
        200,
        known=2,
    ),
    Mutation(
        "successors",
        "a successor begins next",
        once.successor_left_out,
        ("AssertionError: a successor begins next", STUCK),
        100,
    ),
    Mutation(
        "successors",
        "a successor is owed at a takeover",
        once.successors_not_owed,
        (
            "AssertionError: a successor begins next",
            "AssertionError: a chain takes what it is told",
            STUCK,
        ),
        200,
        known=8,
    ),
    Mutation(
        "deciding fails",
        "the run is replayed first",
        once.broken_code_goes_on,
        (TABLES, *NOT_CONTIGUOUS, STUCK, "AssertionError"),
        100,
        known=3,
    ),
    Mutation(
        "deciding fails",
        "the run's turns are acknowledged first",
        once.failed_at_once,
        (TABLES, *NOT_CONTIGUOUS, STUCK, "AssertionError"),
        200,
        known=1,
    ),
    Mutation(
        "attempts",
        "slots are taken when a turn is written",
        once.slots_taken_while_deciding,
        ("AssertionError: slots come back",),
        200,
        known=3,
    ),
    Mutation(
        "attempts",
        "a shard that is closed gives its slots back",
        once.slots_lost_at_close,
        ("AssertionError: slots come back",),
        20,
    ),
    Mutation(
        "attempts",
        "an attempt that outlives its shard gives its slot back",
        once.slots_lost_after_close,
        ("AssertionError: slots come back",),
        100,
        known=19,
    ),
    Mutation(
        "attempts",
        "a time-out tells the last details",
        once.time_outs_without_details,
        ("AssertionError: a time-out tells the last details",),
        20,
        known=6,
    ),
    *OF_CLEANING,
    Mutation(
        "keys", "attempts have keys of their own", log.attempt_keys_without_number, (KEYS,), 50
    ),
    Mutation("keys", "marks have keys of their own", log.mark_keys_without_number, (KEYS,), 50),
    Mutation(
        "levels",
        "a release leaves what it does not know",
        cleaning.levels_not_looked_at,
        (
            "AssertionError: a release claims what it knows",
            "AssertionError: an owner's claim says the level",
        ),
        200,
        known=5,
    ),
    Mutation(
        "levels",
        "an owner's claim says the level",
        cleaning.low_claims_kept,
        ("AssertionError: an owner's claim says the level",),
        200,
        known=18,
    ),
    Mutation(
        "replay",
        "what payloads make up is made up again",
        cleaning.libraries_draw_anew,
        ("AssertionError: payloads are made again",),
        200,
        known=13,
    ),
    *OF_CALLS,
    *OF_BORDER,
    *OF_HANDOVER,
    *OF_UPDATES,
    *OF_VIEWS,
    *OF_ENTITIES,
    *OF_LOCKS,
    *OF_CORRELATION,
    *OF_CHILDREN,
    *OF_ACTIVITIES,
    *OF_HANDLERS,
    *OF_PROMISES,
    *OF_SERVICES,
)
