"""Does a request cost more with more rules, or more services? Our own binary with 10, 1,000 and 10,000 of them."""

from contestants import SERVICE, start_countersign
from scenarios import Column, Scenario, common

COUNTS = (10, 1_000, 10_000)


def name_of(count, what):
    return f"{count:,} {what}"


def more_rules(count):
    """To the shipped rules, which stay: every tenth with a segment that may be anything, the others beside the path
    that is asked for and elsewhere."""

    def change(text):
        rules = []
        for number in range(count - text.count("[[rule]]")):
            path = (f"/api/*/{number}", f"/api/npu/extra/{number}", f"/api/extra/{number}/results")
            chosen = path[0] if number % 10 == 0 else path[1 + number % 2]
            rules.append(f'[[rule]]\npaths = ["{chosen}"]\naccess = "service"\ncallers = ["{SERVICE}"]\n')
        return text + "\n" + "\n".join(rules)

    return change


def others(count):
    return [f"service-{number}" for number in range(count - 1)]


def more_services(count):
    """Each with an address; its key stands in a file of its own."""

    def change(text):
        services = [
            f'[services.{service}]\naddresses = ["10.{number >> 16}.{number >> 8 & 255}.{number & 255}"]\n'
            for number, service in enumerate(others(count))
        ]
        return text + "\n" + "\n".join(services)

    return change


def start_with_rules(count):
    return lambda setting, backend: start_countersign(setting, backend, change=more_rules(count))


def start_with_services(count):
    def start(setting, backend):
        return start_countersign(setting, backend, change=more_services(count), others=others(count))

    return start


RULES = {name_of(count, "rules"): start_with_rules(count) for count in COUNTS}
SERVICES = {name_of(count, "services"): start_with_services(count) for count in COUNTS}


def load(match_up, name, seconds):
    result = match_up.load(name, match_up.options.connections, seconds)
    return {"many_cpu": result["cpu"], "many_rate": result["rate"], "many_memory": result["memory"]} | common(result)


def scenario_of(name, what):
    columns = [
        Column("many_rate", "req/s", 0, True),
        Column("many_cpu", "CPU us/req", 1, False),
        Column("many_memory", "MiB loaded", 1, False),
    ]
    return Scenario(name, what, columns, load, plotted="many_cpu", steady="many_cpu")


OF_RULES = scenario_of("rules", "small requests with more and more rules")
OF_SERVICES = scenario_of("services", "small requests with more and more services, a key file each")


def pairs(names):
    """Each to the smallest."""
    names = list(names)
    return [(name, names[0]) for name in names[1:]]
