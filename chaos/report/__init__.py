"""What a run of faults showed, as one page that a person can read and one JSON that a program can.

    chaos/report/run.py DIRECTORY... [--simulator FILE]... [--planted FILE]... [--summary FILE]

`history` and `outcomes` read what the engine wrote, `figures` turn it into spans and buckets,
`words` say in sentences what held, `lanes` draw the timeline, `page` puts it together; `look` is
the style that the failover loop's report shares. The report reads files and judges nothing: its
verdict is the one of chaos/checkers, and what nobody checked is said to be unchecked.
"""
