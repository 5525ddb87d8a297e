"""Do the tables of moves keep their promises?"""

from cesai.kernel.states import ATTEMPT_MOVES, JOB_FINAL, JOB_MOVES, AttemptState, JobState, may_move


def test_every_state_has_its_row():
    assert set(JOB_MOVES) == set(JobState)
    assert set(ATTEMPT_MOVES) == set(AttemptState)


def test_final_states_are_sticky():
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == JOB_FINAL
    assert not ATTEMPT_MOVES[AttemptState.ENDED]


def test_every_state_can_end():
    assert all(may_move(state, AttemptState.ENDED) for state in AttemptState)


def test_a_run_that_began_never_returns_to_the_queue_of_its_site():
    assert ATTEMPT_MOVES[AttemptState.RUNNING] == {AttemptState.ENDED}
