"""Prompts with planted faults, for measuring how well an optimizer model obeys a protocol.

`[[wrong=>right]]` stands where a fault is: the prompt that is shown holds `wrong`, a good edit puts `right` there.
The cases of a fault are examples that the wrong words get wrong; `kept` are examples that are right. The prompts of
`TUNING`, below, and the replies to them were read while the meta-prompts were written. The first four were read from
the start; the thirteen after `anrufe` were held out in the first measurement. `held_out.py` has those that are held
out now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_promptopt._text.words import count_words

if TYPE_CHECKING:
    from collections.abc import Sequence

_FAULT = re.compile(r"\[\[(.*?)=>(.*?)\]\]", re.S)


@dataclass(frozen=True)
class Fault:
    """A planted fault: where its wrong words stand in the prompt that is shown, and what mends it."""

    start: int
    end: int
    wrong: str
    right: str
    cases: tuple[tuple[str, str, str], ...]
    """Input, expected answer, answer given."""


@dataclass(frozen=True)
class Planted:
    """A prompt with faults.

    Args:
        name: Unique name.
        kind: What the task is: routing, format, rule, or extraction.
        language: Language of the prompt, as an ISO 639 code.
        marked: The text with `[[wrong=>right]]` at each fault.
        cases: For each fault in order, its cases.
        kept: Input and right answer of examples that must stay right.
    """

    name: str
    kind: str
    language: str
    marked: str
    cases: tuple[tuple[tuple[str, str, str], ...], ...]
    kept: tuple[tuple[str, str], ...]
    text: str = field(init=False)
    faults: tuple[Fault, ...] = field(init=False)

    def __post_init__(self) -> None:
        text, faults, at = "", [], 0
        for found, cases in zip(_FAULT.finditer(self.marked), self.cases, strict=True):
            text += self.marked[at : found.start()]
            wrong, right = found.groups()
            faults.append(Fault(len(text), len(text) + len(wrong), wrong, right, cases))
            text += wrong
            at = found.end()
        object.__setattr__(self, "text", text + self.marked[at:])
        object.__setattr__(self, "faults", tuple(faults))

    @property
    def words(self) -> int:
        """Length of the prompt in words; each character is one in a script without spaces."""
        return count_words(self.text)


_BORDER = re.compile(r"(?<=[.!?])\s+|\n(?=\s*(?:[-*#(]|\d+\.|\w+:|$))|\n\n")
"""Between sentences, list items and paragraphs."""


def sentence_of(planted: Planted, fault: Fault) -> tuple[int, int]:
    """Start and end of the sentence or list item that a fault stands in."""
    borders = [m.span() for m in _BORDER.finditer(planted.text)]
    start = max((b for _, b in borders if b <= fault.start), default=0)
    return start, min((a for a, _ in borders if a >= fault.end), default=len(planted.text))


def elsewhere(planted: Planted, fault: Fault, edits: Sequence[tuple[int, int, str]]) -> int:
    """How many edits change another sentence or list item than that of the fault.

    Args:
        planted: The prompt that was shown.
        fault: The fault that the shown examples point to.
        edits: Start, end and new text of each edit, in offsets of the prompt.
    """
    start, end = sentence_of(planted, fault)
    return sum(a < start or b > end for a, b, _ in edits)


def repaired(planted: Planted, fault: Fault, edits: Sequence[tuple[int, int, str]]) -> bool:
    """Whether the sentence or list item of the fault holds the right words after the edits and lost the wrong ones.

    Args:
        planted: The prompt that was shown.
        fault: The fault that the shown examples point to.
        edits: Start, end and new text of each edit, in offsets of the prompt.
    """
    text, (start, end) = planted.text, sentence_of(planted, fault)
    touching = [(a, b, new) for a, b, new in sorted(edits) if a <= end and b >= start]
    start, end = min([start, *(a for a, _, _ in touching)]), max([end, *(b for _, b, _ in touching)])
    out, at = "", start
    for a, b, new in touching:
        out += text[at:a] + new
        at = b
    told = " ".join((out + text[at:end]).casefold().split())
    wanted = [one.strip().casefold() for one in fault.right.split("/")]
    found = any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", told) for one in wanted)
    return found and not re.search(rf"(?<!\w){re.escape(fault.wrong.casefold())}(?!\w)", told)


TUNING = (
    Planted(
        "shop-tickets",
        "routing",
        "en",
        """You sort the mail of an online shop. Name the queue that a message belongs to.

- billing: invoices, payments, double charges
- [[technical=>delivery]]: parcels that are late, lost or damaged
- account: passwords, log-in, change of address
- [[delivery=>technical]]: the app or the website does not work

Answer with the name of the queue alone.

Message: {message}""",
        (
            (
                ("My parcel should have come on Monday and it is still not here.", "delivery", "technical"),
                ("The vase arrived in a hundred pieces.", "delivery", "technical"),
                ("Where is my order? The courier lost it, I think.", "delivery", "technical"),
            ),
            (
                ("The app closes as soon as I open the basket.", "technical", "delivery"),
                ("Your website shows a white page in my browser.", "technical", "delivery"),
                ("I get error 500 when I press Pay.", "technical", "delivery"),
            ),
        ),
        (("You charged my card twice.", "billing"), ("I forgot my password.", "account")),
    ),
    Planted(
        "hotel-review",
        "rule",
        "en",
        """Read a review of a hotel and give it a grade.

Praise without any complaint is [[mixed=>positive]].
Complaint without any praise is negative.
Both praise and complaint is mixed.
A review that says nothing about the hotel is [[negative=>none]].

Write one word. Review: {review}""",
        (
            (
                ("Lovely rooms, lovely staff, we will come back.", "positive", "mixed"),
                ("Best breakfast of our whole trip!", "positive", "mixed"),
                ("Quiet, clean and close to the beach.", "positive", "mixed"),
            ),
            (
                ("We took the train from Lyon.", "none", "negative"),
                ("I am writing this on my phone.", "none", "negative"),
                ("It rained on Tuesday.", "none", "negative"),
            ),
        ),
        (
            ("Dirty towels and a rude porter.", "negative"),
            ("Nice view, but the bed was hard.", "mixed"),
        ),
    ),
    Planted(
        "meeting-date",
        "format",
        "en",
        """You read an e-mail and find the date of the meeting that it proposes.

Write the date as [[day.month.year=>year-month-day/YYYY-MM-DD]], for a meeting in the year 2025 if no year is given.
If the mail proposes no meeting, write [[unknown=>none]].
If it proposes several, take the first one.
Write nothing but the date.

E-mail: {mail}""",
        (
            (
                ("Shall we meet on 4 March?", "2025-03-04", "04.03.2025"),
                ("The board meets on May 12, 2025.", "2025-05-12", "12.05.2025"),
                ("Coffee on June 3rd?", "2025-06-03", "03.06.2025"),
            ),
            (
                ("Thanks for the slides!", "none", "unknown"),
                ("Please find the invoice attached.", "none", "unknown"),
                ("I am on leave until Friday.", "none", "unknown"),
            ),
        ),
        (),
    ),
    Planted(
        "anrufe",
        "routing",
        "de",
        """Du ordnest Anrufe bei der Stadtverwaltung einer Stelle zu.

1. Ausweise und Pässe: Bürgeramt
2. Falschparker und Strafzettel: [[Bauamt=>Ordnungsamt]]
3. Baugenehmigungen: Bauamt
4. Hundesteuer und Gewerbesteuer: [[Standesamt=>Steueramt]]
5. Hochzeiten und Geburten: Standesamt

Antworte nur mit dem Namen der Stelle.
Anruf: {anruf}""",
        (
            (
                ("Vor meiner Einfahrt parkt seit Stunden ein Auto.", "Ordnungsamt", "Bauamt"),
                ("Ich habe einen Strafzettel bekommen und verstehe ihn nicht.", "Ordnungsamt", "Bauamt"),
                ("Auf dem Gehweg stehen jeden Tag Falschparker.", "Ordnungsamt", "Bauamt"),
            ),
            (
                ("Wie melde ich meinen Hund für die Steuer an?", "Steueramt", "Standesamt"),
                ("Mein Gewerbesteuerbescheid ist zu hoch.", "Steueramt", "Standesamt"),
                ("Bis wann muss ich die Hundesteuer zahlen?", "Steueramt", "Standesamt"),
            ),
        ),
        (("Ich brauche einen neuen Pass.", "Bürgeramt"), ("Wir möchten heiraten.", "Standesamt")),
    ),
    Planted(
        "bank-desk",
        "routing",
        "en",
        """You are the first desk of a bank. Read the customer's question and name the team that answers it.

- Lost or stolen cards: [[Loans=>Cards]]
- New credit, mortgage, paying back early: Loans
- Buying and selling shares: [[Insurance=>Trading]]
- Cover for house, car and travel: Insurance
- Suspicious transfers and phishing: [[Trading=>Fraud]]
- Everything else: General

Reply with the team's name and nothing else.

Question: {question}""",
        (
            (
                ("My card was stolen on the bus.", "Cards", "Loans"),
                ("I cannot find my debit card.", "Cards", "Loans"),
                ("Please block my card, I lost my wallet.", "Cards", "Loans"),
            ),
            (
                ("How do I sell fifty shares of Siemens?", "Trading", "Insurance"),
                ("What does it cost to buy stock with you?", "Trading", "Insurance"),
                ("Can I place a limit order for shares?", "Trading", "Insurance"),
            ),
            (
                ("There is a transfer that I did not make.", "Fraud", "Trading"),
                ("I typed my PIN on a strange website.", "Fraud", "Trading"),
                ("Somebody sent me a phishing text in your name.", "Fraud", "Trading"),
            ),
        ),
        (("Can I pay my mortgage back early?", "Loans"), ("When do you open on Saturday?", "General")),
    ),
    Planted(
        "refund-policy",
        "rule",
        "en",
        """Decide what a shop does with a return. Use this policy.

Within [[60=>30]] days of delivery and unopened: full refund.
Within 30 days and opened: [[full refund=>store credit]].
Later than 30 days: no refund.
Damaged when it arrived: replacement, whatever the date.
Sale items: [[full refund=>no refund]].

Answer with full refund, store credit, replacement or no refund.
Case: {case}""",
        (
            (
                ("Delivered 45 days ago, unopened.", "no refund", "full refund"),
                ("Unopened box, arrived 52 days ago.", "no refund", "full refund"),
                ("Delivered 38 days ago, still sealed.", "no refund", "full refund"),
            ),
            (
                ("Arrived 10 days ago, the customer tried it once.", "store credit", "full refund"),
                ("Opened, delivered last week.", "store credit", "full refund"),
                ("Delivered 20 days ago and opened.", "store credit", "full refund"),
            ),
            (
                ("Bought on sale, unopened, arrived yesterday.", "no refund", "full refund"),
                ("A sale item, delivered 5 days ago.", "no refund", "full refund"),
                ("From the summer sale, still sealed, 2 days old.", "no refund", "full refund"),
            ),
        ),
        (("The screen was broken when it arrived.", "replacement"),),
    ),
    Planted(
        "clinic-urgency",
        "rule",
        "en",
        """You help the front desk of a small clinic. A patient writes a message; you give it a level of urgency.

# Levels
- Chest pain or trouble breathing is level [[3=>1]].
- High fever or strong pain is level 2.
- A question about a prescription is level 3.
- A change of appointment is level [[2=>4]].
- A bill or an insurance form is level [[1=>5]].

# Output
Give the number of the level only. Do not explain.

# Message
{text}""",
        (
            (
                ("My chest has been hurting since breakfast.", "1", "3"),
                ("I cannot get enough air.", "1", "3"),
                ("Sharp chest pain when I climb stairs.", "1", "3"),
            ),
            (
                ("Can we move my appointment to Friday?", "4", "2"),
                ("I would like to come at ten instead of nine.", "4", "2"),
                ("Please cancel Tuesday and give me another day.", "4", "2"),
            ),
            (
                ("The bill has the wrong address.", "5", "1"),
                ("My insurance needs form B12.", "5", "1"),
                ("Why do I get two bills?", "5", "1"),
            ),
        ),
        (("Do I take the tablets before or after meals?", "3"), ("I have 40 degrees of fever.", "2")),
    ),
    Planted(
        "invoice-fields",
        "extraction",
        "en",
        """Take the total of an invoice out of its text.

1. Write the amount with two decimals and a [[comma=>point]] before them.
2. Write the currency as a [[symbol=>three-letter code/code]] behind the amount.
3. If there are several totals, take the [[first=>last]] one.
4. If there is no total, write none.

Invoice text: {text}
Total:""",
        (
            (
                ("Total due: 12 euros 50", "12.50 EUR", "12,50 EUR"),
                ("Sum 7 EUR", "7.00 EUR", "7,00 EUR"),
                ("To pay: 99,90 EUR", "99.90 EUR", "99,90 EUR"),
            ),
            (
                ("Amount: $40", "40.00 USD", "40.00 $"),
                ("Total: 15 pounds", "15.00 GBP", "15.00 £"),
                ("You owe €8.20", "8.20 EUR", "8.20 €"),
            ),
            (
                ("Total without tax 100 EUR, total with tax 119 EUR", "119.00 EUR", "100.00 EUR"),
                ("Total: 50 USD. New total after fees: 55 USD", "55.00 USD", "50.00 USD"),
                ("Subtotal and total 10 GBP, final total 12 GBP", "12.00 GBP", "10.00 GBP"),
            ),
        ),
        (("Thank you for your order!", "none"),),
    ),
    Planted(
        "news-desk",
        "routing",
        "en",
        """An agency sends headlines. You put each one into a section of the paper. Elections and parliaments belong to
politics. Matches, transfers and records belong to [[culture=>sport]]. Prices, strikes and companies belong to
[[politics=>economy]]. Films, books and concerts belong to culture. Storms, floods and heat belong to
[[economy=>weather]]. Answer with the section in lower case.

Headline: {headline}""",
        (
            (
                ("Striker moves to Madrid for a record fee", "sport", "culture"),
                ("Home team wins the cup after penalties", "sport", "culture"),
                ("Runner breaks the marathon record", "sport", "culture"),
            ),
            (
                ("Bread costs ten percent more than last year", "economy", "politics"),
                ("Train drivers go on strike on Monday", "economy", "politics"),
                ("Car maker closes two plants", "economy", "politics"),
            ),
            (
                ("River floods the old town", "weather", "economy"),
                ("Storm tears off roofs on the coast", "weather", "economy"),
                ("Forty degrees again: the heat goes on", "weather", "economy"),
            ),
        ),
        (("New novel about the war wins a prize", "culture"), ("Parliament votes on the budget", "politics")),
    ),
    Planted(
        "tone-of-mail",
        "rule",
        "en",
        """You label the tone of a customer's mail so that the right person answers.

## Labels
angry: insults, capital letters, threats to leave
worried: asks whether something is safe or lost
[[worried=>happy]]: thanks and praise
neutral: only facts and questions

## Rules
- Irony counts as [[happy=>angry]].
- A mail with no words at all is [[angry=>neutral]].
- Give one label.

Mail: {mail}""",
        (
            (
                ("Thank you so much, this was perfect!", "happy", "worried"),
                ("Your team is wonderful.", "happy", "worried"),
                ("Great service, many thanks.", "happy", "worried"),
            ),
            (
                ("Oh great, it broke again. Well done.", "angry", "happy"),
                ("How nice of you to lose my parcel twice.", "angry", "happy"),
                ("Wonderful, three weeks of waiting. Bravo.", "angry", "happy"),
            ),
            (
                ("...", "neutral", "angry"),
                ("???", "neutral", "angry"),
                ("-", "neutral", "angry"),
            ),
        ),
        (("IF THIS IS NOT FIXED I AM GONE!", "angry"), ("What are your opening hours?", "neutral")),
    ),
    Planted(
        "recipes-units",
        "format",
        "en",
        """Turn an amount from a recipe into grams or millilitres.

A cup of liquid has [[200=>240]] ml. A tablespoon has 15 ml. A teaspoon has [[10=>5]] ml. A stick of butter has 113 g.
A pound has [[500=>454]] g. Round to whole numbers. Write the number, a blank and the unit, such as 30 ml.

Amount: {amount}""",
        (
            (
                ("2 cups of milk", "480 ml", "400 ml"),
                ("1 cup water", "240 ml", "200 ml"),
                ("half a cup of cream", "120 ml", "100 ml"),
            ),
            (
                ("1 teaspoon vanilla", "5 ml", "10 ml"),
                ("2 teaspoons of oil", "10 ml", "20 ml"),
                ("4 tsp vinegar", "20 ml", "40 ml"),
            ),
            (
                ("1 pound of beef", "454 g", "500 g"),
                ("2 lb potatoes", "908 g", "1000 g"),
                ("half a pound of cheese", "227 g", "250 g"),
            ),
        ),
        (("2 tablespoons honey", "30 ml"),),
    ),
    Planted(
        "werkstatt",
        "routing",
        "de",
        """Du nimmst in einer Autowerkstatt Aufträge an und schreibst den passenden Bereich auf.

- Bremsen, Kupplung, Auspuff: Mechanik
- Lack, Beulen, Rost: [[Elektrik=>Karosserie]]
- Batterie, Licht, Sensoren: [[Reifen=>Elektrik]]
- Winterreifen und Felgen: Reifen
- Termine für die Hauptuntersuchung: [[Mechanik=>Prüfung]]

Gib nur den Bereich aus.
Auftrag: {auftrag}""",
        (
            (
                ("Die Tür hat eine Beule.", "Karosserie", "Elektrik"),
                ("Am Kotflügel blüht der Rost.", "Karosserie", "Elektrik"),
                ("Der Lack ist zerkratzt.", "Karosserie", "Elektrik"),
            ),
            (
                ("Das linke Licht geht nicht.", "Elektrik", "Reifen"),
                ("Die Batterie ist jeden Morgen leer.", "Elektrik", "Reifen"),
                ("Der Parksensor piept immer.", "Elektrik", "Reifen"),
            ),
            (
                ("Ich brauche einen Termin für die Hauptuntersuchung.", "Prüfung", "Mechanik"),
                ("Die Plakette läuft im Mai ab, wann geht die HU?", "Prüfung", "Mechanik"),
                ("Hauptuntersuchung bitte am Freitag.", "Prüfung", "Mechanik"),
            ),
        ),
        (("Die Bremsen quietschen.", "Mechanik"), ("Winterreifen aufziehen, bitte.", "Reifen")),
    ),
    Planted(
        "correo",
        "routing",
        "es",
        """Clasificas los correos que llegan a una universidad.

* Matrículas y plazos: [[biblioteca=>secretaría]]
* Préstamo de libros y salas de estudio: biblioteca
* Becas y ayudas: [[deportes=>becas]]
* Gimnasio, piscina y torneos: deportes
* Contraseñas y wifi: [[secretaría=>informática]]

Escribe solo el nombre del servicio.
Correo: {correo}""",
        (
            (
                ("¿Hasta cuándo puedo matricularme?", "secretaría", "biblioteca"),
                ("Quiero anular mi matrícula de Química.", "secretaría", "biblioteca"),
                ("¿Cuál es el plazo de matrícula?", "secretaría", "biblioteca"),
            ),
            (
                ("¿Cómo pido una beca de comedor?", "becas", "deportes"),
                ("Me han negado la ayuda de transporte.", "becas", "deportes"),
                ("Necesito una beca para el próximo curso.", "becas", "deportes"),
            ),
            (
                ("He olvidado mi contraseña del campus.", "informática", "secretaría"),
                ("El wifi de la residencia no funciona.", "informática", "secretaría"),
                ("Mi contraseña ha caducado.", "informática", "secretaría"),
            ),
        ),
        (("¿Puedo reservar una sala de estudio?", "biblioteca"), ("¿A qué hora abre la piscina?", "deportes")),
    ),
    Planted(
        "support-long",
        "routing",
        "en",
        """You are the intake assistant of Northwind, a company that rents tools and machines to builders and to private
customers. Every message that comes in through the web form is shown to you once. Your only task is to name the desk
that should read it. People at the desks are busy; a message at the wrong desk waits for a day.

# Desks
- RENTAL: new rentals, longer rentals, prices, what is in stock
- RETURNS: bringing a machine back, late returns, deposits
- REPAIR: a machine that does not run, leaks, smokes or makes a noise
- DELIVERY: when and where a machine is brought or fetched
- SAFETY: injuries, near misses, missing guards, smell of gas
- ACCOUNTS: invoices, payments, tax numbers

# Rules
1. A message about an injury goes to SAFETY, whatever else it says.
2. A machine that arrived dirty goes to [[ACCOUNTS=>RETURNS]].
3. A deposit that was not paid back goes to [[REPAIR=>ACCOUNTS]].
4. A driver who did not come goes to DELIVERY.
5. A question about training or a licence for a machine goes to [[DELIVERY=>SAFETY]].
6. A customer who wants to keep a machine for longer goes to [[RETURNS=>RENTAL]].
7. A message in which the customer asks for a person by name goes to the desk of the subject all the same.
8. Spam and job applications go to NONE.

# Answer
Write the name of the desk in capital letters. Write nothing before it and nothing behind it. Do not explain your choice
and do not answer the customer.

# Message
{message}""",
        (
            (
                ("The mixer you brought was full of old concrete.", "RETURNS", "ACCOUNTS"),
                ("The floor sander came with a bag of somebody's dust in it.", "RETURNS", "ACCOUNTS"),
                ("Digger arrived covered in mud, inside too.", "RETURNS", "ACCOUNTS"),
            ),
            (
                ("I brought the saw back in May and still wait for my deposit.", "ACCOUNTS", "REPAIR"),
                ("Where are my 200 pounds of deposit?", "ACCOUNTS", "REPAIR"),
                ("Deposit not refunded, order 5531.", "ACCOUNTS", "REPAIR"),
            ),
            (
                ("Do I need a licence for the mini digger?", "SAFETY", "DELIVERY"),
                ("Do you offer a training for the lift?", "SAFETY", "DELIVERY"),
                ("Who may drive the forklift, is there a course?", "SAFETY", "DELIVERY"),
            ),
            (
                ("Can I keep the scaffold for one more week?", "RENTAL", "RETURNS"),
                ("We need the pump until Friday instead of Wednesday.", "RENTAL", "RETURNS"),
                ("Please extend order 220 by three days.", "RENTAL", "RETURNS"),
            ),
        ),
        (("The generator smokes.", "REPAIR"), ("The driver never came.", "DELIVERY")),
    ),
    Planted(
        "leave-requests",
        "rule",
        "en",
        """Check a request for leave against the rules of the company and answer approve, ask or refuse.

- Up to 5 days with two weeks' notice: approve.
- More than 5 days: [[refuse=>ask]].
- Less than two weeks' notice: [[approve=>ask]].
- Any leave in the last week of December: [[approve=>refuse]].
- A funeral in the family: [[ask=>approve]], without notice.
- Sick children: approve, without notice.

Request: {request}
Decision:""",
        (
            (
                ("8 days in June, asked in March.", "ask", "refuse"),
                ("Two weeks in September, five months ahead.", "ask", "refuse"),
                ("10 days next spring.", "ask", "refuse"),
            ),
            (
                ("2 days, starting the day after tomorrow.", "ask", "approve"),
                ("Tomorrow off, please.", "ask", "approve"),
                ("Three days from Monday, today is Friday.", "ask", "approve"),
            ),
            (
                ("27 and 28 December, asked in July.", "refuse", "approve"),
                ("One day, 30 December.", "refuse", "approve"),
                ("The week between Christmas and New Year, two months ahead.", "refuse", "approve"),
            ),
            (
                ("My grandmother's funeral is tomorrow.", "approve", "ask"),
                ("Leave on Thursday for my uncle's funeral.", "approve", "ask"),
                ("Family funeral on Friday.", "approve", "ask"),
            ),
        ),
        (("3 days in May, asked in February.", "approve"),),
    ),
    Planted(
        "spelling-style",
        "format",
        "en",
        """Rewrite a product title for our catalogue.

Style sheet:
(a) Sizes go at the [[start=>end]] of the title.
(b) Colours are written in [[capitals=>lower case]].
(c) Weights are given in [[ounces=>grams]].
(d) Brand names keep their own spelling.

Return the title only.

Title: {title}""",
        (
            (
                ("Nordfell shirt M", "Nordfell shirt, M", "M, Nordfell shirt"),
                ("Size 42 boot Halla", "Halla boot, 42", "42, Halla boot"),
                ("XL jacket by Veda", "Veda jacket, XL", "XL, Veda jacket"),
            ),
            (
                ("Veda scarf Red", "Veda scarf, red", "Veda scarf, RED"),
                ("Halla cap blue", "Halla cap, blue", "Halla cap, BLUE"),
                ("Nordfell socks Green", "Nordfell socks, green", "Nordfell socks, GREEN"),
            ),
            (
                ("Oda tea half a kilo", "Oda tea, 500 g", "Oda tea, 17.6 oz"),
                ("Coffee Brun 250g", "Brun coffee, 250 g", "Brun coffee, 8.8 oz"),
                ("Oda sugar 1 kg", "Oda sugar, 1000 g", "Oda sugar, 35.3 oz"),
            ),
        ),
        (("mcNally pen", "mcNally pen"),),
    ),
    Planted(
        "traffic-signs",
        "rule",
        "en",
        """A driver describes where the car stands. Say whether it may stand there: yes, no or short.

On a bridge: no. In front of a fire hydrant: [[short=>no]]. In a loading zone: short. On a pavement without a sign:
[[yes=>no]]. In a marked bay: yes. In front of one's own garage: [[no=>yes]]. On a bus stop: no.

Place: {place}
Answer:""",
        (
            (
                ("Right in front of a hydrant.", "no", "short"),
                ("There is a fire hydrant next to my door.", "no", "short"),
                ("I stand at a hydrant, just for a minute.", "no", "short"),
            ),
            (
                ("With two wheels on the pavement.", "no", "yes"),
                ("On the pavement, no sign anywhere.", "no", "yes"),
                ("The whole car is on the pavement.", "no", "yes"),
            ),
            (
                ("Before my own garage.", "yes", "no"),
                ("In front of the garage that belongs to me.", "yes", "no"),
                ("My own garage door is behind the car.", "yes", "no"),
            ),
        ),
        (("In a loading zone.", "short"), ("On the old bridge.", "no")),
    ),
)
"""Seventeen prompts, 49 faults."""
