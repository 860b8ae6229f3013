"""Broken and hostile input at every door: what a stranger may send is taken, or refused in words, and nothing else.

    make fuzz                               a million inputs, a table of them by door
    make fuzz N=20000 DOOR=segment SEED=7   N inputs at one door, of another seed
    python -m tests.fuzz --replay FILE      one input again, at the door that its folder names

A door is a function that takes bytes from outside: `doors/` has them. Each input is made of a good one by `spoil`, and
is tried in a child process, so that a crash in native code is a finding like any other. A finding is an exception that
is not the door's refusal, a second of the processor's time, or memory over the door's bound. Its input is saved in
`findings/`; after the fix, it goes to `corpus/<door>/`, which every run and `make test` try first.
"""
