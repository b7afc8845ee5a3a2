"""No fault at all: what every other scenario is compared with."""
from nemesis.scenario import Scenario


class Quiet(Scenario):
    """Clients write at both sites and nothing happens. Everything that checkers demand must hold, and
    nobody waits: a checker that finds something here is wrong, or the product is."""
    name, answers = "quiet", "(nothing: the run that must find nothing)"
    shares = True

    def timeline(self, context):
        context.pauses.undisturbed("nothing happens")
        context.wait(5)
        context.wait_answers(100)
