"""What a named scenario is: a story with a timeline and what must come of it.

    class LinkCut(Scenario):
        '''The link between the sites is cut while both see the witness. ...the story...'''
        name, answers = "link-cut", "the link between the sites cut while both see the witness"

        def timeline(self, context):
            with context.during(Partition("sites")):
                context.wait(4)

The engine makes the cluster, starts clients at both sites, the observer and the poller, calls
timeline(), ends whatever it left open, lets everything settle, and has the history checked. A
timeline waits through the context only (every wait is bounded), and draws from context.draw.
"""
import inspect

from nemesis.fault import discover


class Scenario:
    name = ""               # as on the command line
    answers = ""            # the entry of "What broke others" that it answers
    topology = "1+1+1"
    network = "any"         # "kernel": packets are dropped; "relay": a proxy between nodes
    long = False            # twice as long as most: begun first, lest a lane is left with it alone
    bends = False           # it bends links between nodes: a network has to be able to
    settings = {}           # sections of the nodes' configuration, over the engine's own
    preload = ()            # of "disk", "clock", "power"
    # Settings of the durability policy. A nemesis strikes more often in an hour than the delivered
    # cap on changes allows, and nobody waits for the dwell of a real return.
    policy = ("changes_per_hour_max=3600", "resync_dwell_ms=1000")
    clients = 3             # per site
    observe = True          # `tally observe` runs beside
    shares = False          # leaves nothing behind that the next scenario on its cluster could trip over
    faults_may_pass = False     # a fault that finds nobody to strike breaks no expectation
    rest_seconds = 120      # for everything to be well again after the last fault
    # Further bounds that the checkers hold it to (meta.json): {"pause_ms": {"B": 2000}}, {"pause_ms":
    # 3000}. What guarantees.md promises for a fault is bounded without a word (budgets.py).
    bounds = {}
    # Names of claims that the checkers must find broken: without that finding the scenario failed.
    must_break = ()
    # And those that may break along with them: one loss shows in more than one way.
    may_break = ()

    @classmethod
    def needs(cls):
        """Why this machine cannot run it, or None."""
        return None

    @classmethod
    def story(cls):
        return inspect.cleandoc(cls.__doc__ or "")

    def prepare(self, context):
        """The cluster's members are there (context.sites), nothing is initialised yet."""

    def timeline(self, context):
        raise NotImplementedError

    def verify(self, context):
        """After everything came to rest, nodes still up: context.expect() what must hold now."""


def all_scenarios():
    """{name: class} of every module in scenarios/."""
    from nemesis import scenarios
    return discover(scenarios, Scenario)
