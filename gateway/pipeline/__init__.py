"""The pipeline: (plan, state, readings, at) -> verdicts, states, alarm transitions, refusals. Pure, columnar.

`plan`      what the registry says, as columns; made once, again when the registry changes
`intake`    readings -> sorted columns in the channels' units, and refusals; duplicates and conflicts told apart
`judge`     columns and states -> verdicts, states after, transitions of alarm conditions
`records`   verdict and reading columns -> the records of CONTRACTS §4 and §6
"""
