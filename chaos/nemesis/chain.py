"""Several scenarios one after another on one cluster, in one history: for a slice of continuous
integration, where making a cluster takes longer than most stories."""
from nemesis.scenario import Scenario


class Chain(Scenario):
    """Several scenarios, one after another, on one cluster."""

    def __init__(self, parts):
        self.parts = parts
        self.name = ",".join(part.name for part in parts)
        self.answers = "; ".join(part.answers for part in parts)
        self.topology = parts[0].topology
        self.preload = tuple(sorted({kind for part in parts for kind in part.preload}))
        self.clients = max(part.clients for part in parts)
        self.bends = any(part.bends for part in parts)
        self.rest_seconds = max(part.rest_seconds for part in parts)

    def needs(self):
        return next((part.needs() for part in self.parts if part.needs()), None)

    def story(self):
        return "\n\n".join("%s: %s" % (part.name, part.story()) for part in self.parts)

    def prepare(self, context):
        for part in self.parts:
            part.prepare(context)

    def timeline(self, context):
        for part in self.parts:
            context.note("scenario %s begins" % part.name)
            context.may_pass = part.faults_may_pass
            part.timeline(context)
            context.mend()
            context.settle(part.rest_seconds)
            context.wait_answers(20, part.rest_seconds)
            context.run.wait_sync(part.rest_seconds)

    def verify(self, context):
        for part in self.parts:
            part.verify(context)


def chain(parts):
    """One scenario of several; ValueError: they cannot share a cluster."""
    alone = [part.name for part in parts if not part.shares]
    if alone:
        raise ValueError("%s: needs a cluster of its own, run it by itself" % ", ".join(alone))
    wanting = [part.name for part in parts if part.must_break]
    if wanting:
        raise ValueError("%s: wants a claim broken, run it by itself" % ", ".join(wanting))
    for what in ("topology", "settings", "policy"):
        values = [getattr(part, what) for part in parts]
        if any(value != values[0] for value in values):
            raise ValueError("these scenarios want a different %s and cannot share a cluster: %s" % (
                what, ", ".join(part.name for part in parts)))
    networks = {part.network for part in parts} - {"any"}
    if len(networks) > 1:
        raise ValueError("one of these scenarios needs the kernel's network, another the relay")
    made = Chain(parts)
    made.network = networks.pop() if networks else "any"
    if {"disk", "power"} <= set(made.preload):
        raise ValueError("one of these scenarios starts nodes with \"disk\", another with \"power\"")
    return made
