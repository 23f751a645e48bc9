"""What agents of an imaginary shop note during a call: Fernhill sells smart planters and an app for them.

The templates are those of `include.data.wording`. A fact has its wording in the summary as key, and the wordings in a
note as value.
"""

from __future__ import annotations

SLOTS: dict[str, list[str]] = {
    "name": ["Ana", "Jonas", "Maria", "Tom", "Ines", "Lukas", "Aoife", "Mr Weber", "Ms Okafor", "Dr Lind"],
    "city": ["Leeds", "Lyon", "Porto", "Hamburg", "Cork", "Malmo", "Ghent", "Graz", "Bologna"],
    "digits": ["20318", "41177", "58240", "63902", "77415", "80236", "91551"],
    "years": ["a year", "two years", "three years", "many years"],
}

PRODUCTS: list[str] = ["planter", "grow light", "herb kit", "seed box", "moisture sensor", "starter set"]

PROBLEMS: dict[str, list[str]] = {
    "leaks": ["the {product} (leaks|drips|loses water)", "there is water under the {product} (every morning|again)"],
    "arrived broken": [
        "the {product} (arrived|came) (broken|cracked|in pieces)",
        "when the box was opened, the {product} was (broken|cracked)",
    ],
    "has not arrived": [
        "the {product} (has not arrived|never came|is still not there)",
        "the courier (lost|did not bring) the {product}",
    ],
    "does not switch on": [
        "the {product} (does not switch on|stays dark|is dead)",
        "nothing happens when the {product} is (switched on|plugged in)",
    ],
    "loses its connection": [
        "the {product} (loses the wifi|keeps losing its connection|drops out of the app)",
        "the app (cannot find|no longer sees) the {product}",
    ],
    "was charged twice": [
        "the {product} was (charged|billed|debited) (twice|two times)",
        "two payments for the {product} (are on the card|were taken)",
    ],
    "shows wrong values": [
        "the {product} shows (wrong|strange|impossible) values",
        "the readings of the {product} are (wrong|far too high|off)",
    ],
}

WISHES: dict[str, list[str]] = {
    "a refund": ["wants (a refund|the money back)", "asks for (a refund|the money back)"],
    "a replacement": ["wants (a replacement|a new one)", "asks us to (replace it|send a new one)"],
    "a repair": ["wants it (repaired|fixed)", "asks for (a repair|somebody to fix it)"],
    "a call back": ["wants (a call back|to be called back)", "asks that we (call back|phone again)"],
}

DAYS: list[str] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

DAY_TEMPLATES: list[str] = [
    "(That was|It happened) on {day}.",
    "(First noticed|Noticed it|Saw it) on {day}.",
    "{day} was the day.",
]

OPENINGS: list[str] = [
    "{name} (called|rang|phoned) (from {city}|).",
    "Call from {name}(, {city}|).",
    "(Spoke to|Talked to) {name}( in {city}|).",
    "Customer {name}, order {digits}.",
]

# Sentences that belong to no summary.
BACKGROUND: list[str] = [
    "Has been a customer for {years}.",
    "(Likes|Loves) (our|the) app (otherwise|very much).",
    "Was (friendly|polite|annoyed|in a hurry) (on the phone|throughout|).",
    "(Had|Has) to wait (ten|five|twenty) minutes in the queue.",
    "Checked the address (and the e-mail|): (both|all) correct.",
    "Explained (our newsletter|our loyalty card|the opening hours).",
    "We talked about the weather (in {city}|).",
    "A (neighbour|sister|colleague) has (the same|one, too) (without trouble|and is happy).",
    "(Line|Connection) was bad, (asked twice|had to repeat things).",
    "Already (read|searched) the (manual|FAQ) (without success|).",
]
