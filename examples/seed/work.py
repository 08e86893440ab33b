"""The CPU-bound function that all three ways of running it share: pure Python, no I/O, nothing to wait for."""


def longest_chain(first: int, count: int) -> dict[str, int]:
    """Which of `count` numbers from `first` on takes the most steps down to 1, by halving or tripling plus one."""
    best, steps_max = first, 0
    for start in range(first, first + count):
        number, steps = start, 0
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
        if steps > steps_max:
            best, steps_max = start, steps
    return {"number": best, "steps": steps_max}
