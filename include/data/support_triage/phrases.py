"""What customers of an imaginary shop write: Fernhill sells smart planters, an app for them and a subscription.

The templates are those of `include.data.wording`.
"""

from __future__ import annotations

SLOTS: dict[str, list[str]] = {
    "product": ["planter", "herb kit", "grow light", "starter set", "balcony box", "seed box", "moisture sensor"],
    "plan": ["premium plan", "family plan", "yearly plan", "monthly plan", "subscription", "membership"],
    "amount": ["4.99", "9.99", "12.50", "19.90", "24", "35.80", "49", "79.00", "119"],
    "month": ["January", "March", "April", "June", "July", "September", "October", "December"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
    "city": ["Leeds", "Lyon", "Porto", "Hamburg", "Cork", "Malmo", "Ghent", "Graz", "Bologna"],
    "order": ["order FH-{digits}", "order {digits}", "my (last|latest|recent) order", "the order (from|of) {day}"],
    "digits": ["20318", "41177", "58240", "63902", "77415", "80236", "91551"],
    "device": ["iPhone", "Pixel", "tablet", "iPad", "Android phone", "laptop", "phone"],
    "page": ["plant diary", "watering schedule", "settings page", "light timer", "shopping basket", "photo album"],
    "while": ["(two|three|five|ten) days", "(two|three) weeks", "a week", "a month", "ages"],
}

OPENERS: list[str] = [
    "(Hi|Hello|Hey|Good morning|Hi there|Dear team|Dear Fernhill)(,|!| -) ",
    "(Quick question|One question|Question)(:|,| -) ",
    "(I hope you are well.|Hope you can help.|Not sure if this is the right place, but) ",
    "I have been a customer for {while}. ",
    "We (love|like|use) the {product}. ",
    "Third time I write(:| about this:|.) ",
]

CLOSERS: list[str] = [
    " (Thanks|Thank you|Cheers|Many thanks|Thx)(!|.| in advance| for your help)",
    " (Please|Pls) (help|advise|answer|look into it|get back to me)(.| soon.| today.|)",
    " (This is urgent|I am in a hurry|It is getting annoying|I am quite disappointed)(.|!)",
    " (Best|Regards|Kind regards)(,|) (Ana|Jonas|Maria|Tom|Ines|Lukas|Aoife)",
    " What (should|can|do) I do(?| now?)",
    " (I|We) bought (it|the {product}) in {month}.",
]

# Sentences that belong to no class in particular.
BACKGROUND: list[str] = [
    "(I|We) have the {product} and the {plan}.",
    "I use (an old|a new|my husband's) {device}.",
    "My (sister|neighbour|husband|colleague) (uses|has) the same {product} (without any trouble|and is happy with it).",
    "I (already |)(called|asked) (twice|on {day}|last week) (and|but) (got no answer|nobody replied).",
    "The {product} (itself |)is (great|lovely|fine|ok).",
    "I (looked|searched) (in|through) the (FAQ|help pages|manual)(| but found nothing).",
    "We (live in|have moved to|are near) {city}.",
    "I (changed|updated) (a few things|my details|my settings) (yesterday|last week|in {month}).",
]

# How a second matter is brought up after the first.
BRIDGES: list[str] = ["Also, ", "And ", "By the way, ", "One more thing: ", "Besides, ", "While I am at it, ", ""]

# How the first matter is played down, so that the second is what the message is about.
SETBACKS: list[str] = [
    "But never mind that, ",
    "That can wait, though: ",
    "That one is solved. What I need now: ",
    "You already answered that. This time: ",
]

CORES: dict[str, list[str]] = {
    "account_access": [
        "I (cannot|can't|can not) (log in|sign in|get in|get into my account)( any more| since {day}|)",
        "the (password|reset) (mail|email|link) (never arrives|does not come|has expired|leads nowhere)",
        "my account (is|has been|seems) (locked|blocked|disabled|suspended)( after (too many|three) attempts|)",
        "I forgot my (password|user name|login)( and the reset does not work| and the hint is no help|)",
        "it (says|keeps saying) (wrong password|unknown user|invalid code) although I (am sure|copied it)",
        "I (no longer have|lost) the phone (number|) (for|that gets) the (login|verification|two-factor) code",
        "how (do|can) I change the (email|e-mail address|phone number) (I log in with|of my account)",
        "somebody (else|) (changed my password|logged into my account|is using my account)",
        "the (verification|confirmation|login) code (is never accepted|does not arrive|comes too late)",
        "I have two (accounts|logins) (by mistake|now) and (want|need) them (merged|to be one)",
        "after (the update|getting a new phone) I was (logged|signed) out and (cannot get back in|am not let in)",
        "I need (a login for my wife|access for a colleague|to get into the account of our school)",
    ],
    "billing": [
        "I was charged (twice|two times|double|again) for (the|my) {plan}",
        "I (want|would like|am waiting for) (a refund|my money back)( of {amount} euros| for {order}|)",
        "there is a (charge|payment|debit) of {amount} (on my card|in {month}) (that |)I do not recognise",
        "(please|could you) send me (an invoice|a receipt|the bill) for {order}",
        "the (invoice|bill|receipt) (shows|has) the wrong (amount|address|company name|VAT number)",
        "my (card|payment|PayPal) (was declined|was refused|is not accepted)( when I (pay|renew)|)",
        "the (price|fee) of the {plan} (went up|is higher than agreed|changed)( without notice| in {month}|)",
        "how (do|can) I (change|update) (my|the) (card|payment method|bank details)",
        "the (discount|voucher|gift card|code) (was not taken off|is not (counted|applied))( for {order}|)",
        "why do I pay {amount} (a month|now) (after all those years|when the offer said less)",
        "can I pay (by bank transfer|by invoice|in instalments|yearly instead of monthly)",
        "you (took|debited) {amount} after the (trial|free month)( although I was not told|)",
    ],
    "bug_report": [
        "the app (crashes|freezes|closes itself|hangs) (when|every time|as soon as) I open the {page}",
        "the {page} (is|stays|shows) (blank|empty|nothing|white)( since the (update|last version)|)",
        "since the (last|new) (update|version) the {page} (does not work|is broken|is very slow)",
        "the {product} (does not connect|loses the connection|will not pair) (to|with) the (app|wifi|{device})",
        "I get (an error|error {digits}|a red message) (when I (save|open|sync) the {page}|in the {page})",
        "the (notifications|reminders) (do not come|come twice|come in the middle of the night)",
        "the (numbers|values|graphs) in the {page} are (wrong|off|frozen|from last week)",
        "the button to (save|delete|share) (does nothing|is greyed out|is missing) on my {device}",
        "the {product} (switches itself off|blinks red|waters at the wrong time)(| and the app says all is well)",
        "my {page} (was|is) gone (after the update|this morning|since {day})",
        "(photos|dates|names) in the {page} are (mixed up|shown twice|not saved)",
        "the website (does not load|shows an error|jumps back) when I (open|leave) the {page}",
    ],
    "cancellation": [
        "I (want|would like|need|wish) to cancel (my|the|our) {plan}",
        "please (end|stop|cancel|terminate) (my|our) {plan}( at the end of {month}| now| immediately|)",
        "how (do|can) I (cancel|get out of|end) the {plan}",
        "I do not (want|need) (the|my) {plan} (any more|any longer|from {month} on)",
        "please do not renew (my|the|our) {plan}( in {month}|)",
        "I (already |)cancelled (in {month}|last week|in my account) but (it is still active|got no confirmation)",
        "(delete|close|remove) my account and (all|) (my|the) data( please|)",
        "(I am|we are) (moving|leaving|giving up gardening), so the {plan} (can|should) (stop|end)",
        "(please|can you) confirm (my|the) cancellation( of the {plan}|)",
        "I am not (happy|satisfied), (I quit|I am leaving|I want out of) the {plan}",
        "what is the notice period (for|of) the {plan}",
        "I (changed my mind|ordered by mistake) and want to (cancel|withdraw from) {order}",
    ],
    "feature_request": [
        "(could|can) you add (a dark mode|a widget|an export|a calendar) to the {page}",
        "it would be (great|nice|useful|lovely) to (share|print|export|sort) the {page}",
        "I (wish|would love it if) the {product} (came in (black|white|a larger size)|had a timer|could talk to Alexa)",
        "(please |)(let the {page} work offline|make the {page} (speak Dutch|speak French|usable on a {device}))",
        "(is there a plan for|are you planning) (a {device} app|a web version|more languages|a bigger {product})",
        "why is there no way to (rename|group|copy|archive) (plants|rooms|entries in the {page})",
        "(suggestion|idea|proposal)(:| -) (a reminder|a search|an undo|a filter) (in|for) the {page}",
        "I (miss|am missing) (a search|an undo|a filter|a summary) in the {page}",
        "(other apps|your competitors) let me (share|back up|scan) (plants|the {page}), (you should too|yours not)",
        "can the {product} (be made to|) (work|connect) with (Google Home|Home Assistant|solar power|two phones)",
        "a (larger|smaller|cheaper) {product} is something (I would buy|we would love)",
        "(more|different) (colours|sounds|plants|languages) (for|in) the {page} (would be nice|please)",
    ],
    "shipping": [
        "{order} (has not arrived|did not come|is still not here)( after {while}|)",
        "where is (my parcel|my package|my {product}|{order})",
        "the tracking (has not changed since {day}|has shown nothing for {while}|says delivered but nothing came)",
        "the {product} (arrived|came) (broken|damaged|cracked|with a part missing)",
        "I (got|received) (the wrong|a different|only half of the) {product}",
        "(do|can) you (deliver|ship|send) to {city}( and what does it cost| by {day}|)",
        "how long does (delivery|shipping) to {city} take",
        "I (gave|typed|entered) the wrong (address|postcode|house number) for {order}",
        "can {order} (be sent|go) to (a pick-up point|my neighbour|my office|another address)",
        "how (do|can) I (return|send back) the {product}( and who pays for that|)",
        "the courier (left it in the rain|never rang|went to the wrong house|sent it back)",
        "(part|half) of {order} is missing from the (box|parcel|delivery)",
    ],
}
