import threading
import time

import pytest

from recordio.prefetch import ahead, parallel


def counted(stop):
    yield from range(stop)


def test_all_items_in_order():
    assert list(ahead(lambda left: counted(1000))) == list(range(1000))
    assert list(parallel(lambda item: item * 2, range(1000))) == list(range(0, 2000, 2))


def test_it_runs_ahead_but_not_far():
    made = []

    def produce(left):
        for number in range(100):
            made.append(number)
            yield number

    items = ahead(produce, depth=2)
    next(items)
    until = time.monotonic() + 60
    while len(made) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.3)
    assert 3 <= len(made) <= 4
    items.close()


def test_parallel_holds_a_bounded_number_of_items():
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield number

    results = parallel(lambda item: item, source(), workers=2)
    next(results)
    assert len(taken) == 3
    results.close()


def test_parallel_results_come_in_order_whatever_they_take():
    def slow_first(item):
        time.sleep(0.1 if item == 0 else 0)
        return item

    assert list(parallel(slow_first, range(8), workers=4)) == list(range(8))


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_exception_is_raised_after_the_items_before_it(error):
    def produce(left):
        yield 1
        raise error

    items = ahead(produce)
    assert next(items) == 1
    with pytest.raises(type(error)):
        next(items)


def test_an_exception_before_the_first_item():
    def produce(left):
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        list(ahead(produce))


def test_closing_closes_the_producer_in_its_own_thread():
    closed_in = []

    def produce(left):
        try:
            yield from counted(100)
        finally:
            closed_in.append(threading.current_thread().name)

    items = ahead(produce)
    next(items)
    items.close()
    assert closed_in == ["read-ahead"]


def test_closing_ends_a_producer_that_waits():
    def produce(left):
        yield 1
        while not left():
            time.sleep(0.01)

    items = ahead(produce)
    next(items)
    items.close()
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())
