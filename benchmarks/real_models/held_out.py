"""The held-out prompts with planted faults: they say how good the meta-prompts are, and nobody tunes on them.

They were written before any model had seen them. Once replies to them have been read to improve the method, they
belong to `TUNING` and new ones are needed here. The kinds alternate, so that a run that ends early has seen all of
them.
"""

from __future__ import annotations

from benchmarks.real_models.prompts import Planted

HELD_OUT = (
    Planted(
        "zoo-radio",
        "routing",
        "en",
        """You listen to the staff radio of a zoo and say which team has to come.

- An animal that limps, coughs or does not eat: [[Gardens=>Vets]]
- An animal that is outside its enclosure: Keepers
- A visitor who is lost, hurt or fighting: [[Kitchen=>Security]]
- Fallen trees and blocked paths: Gardens
- Feed that is late: Kitchen
- Broken pumps, fences and lamps: [[Keepers=>Workshop]]

Name one team.

Report: {report}""",
        (
            (
                ("One of the penguins is limping.", "Vets", "Gardens"),
                ("The giraffe has been coughing since last night.", "Vets", "Gardens"),
                ("The old lion leaves his meat for the third day.", "Vets", "Gardens"),
            ),
            (
                ("A boy of five cannot find his parents, he is at the aquarium.", "Security", "Kitchen"),
                ("Two men are fighting near the ticket office.", "Security", "Kitchen"),
                ("A lady fell on the stairs and cut her knee.", "Security", "Kitchen"),
            ),
            (
                ("The pump of the seal pool has stopped.", "Workshop", "Keepers"),
                ("No light in the reptile house, two lamps are dead.", "Workshop", "Keepers"),
                ("A board of the fence behind the goats is broken.", "Workshop", "Keepers"),
            ),
        ),
        (
            ("A wallaby is hopping about on the car park.", "Keepers"),
            ("A big branch lies across the path to the bears.", "Gardens"),
        ),
    ),
    Planted(
        "pool-water",
        "rule",
        "en",
        """The attendant of a public pool reports a water sample. Say what has to be done: fine, dose, dilute or close.

- Free chlorine under 0.3 mg/l: dose
- Free chlorine from 0.3 to [[1.6=>0.6]] mg/l: fine
- Free chlorine over 0.6 mg/l: dilute
- pH under 7.0 or over 7.6: close
- pH from [[6.0=>7.0]] to 7.6: fine
- Cloudy water, whatever the figures: [[fine=>close]]

One word is enough.

Sample: {sample}""",
        (
            (
                ("Free chlorine 0.9 mg/l.", "dilute", "fine"),
                ("Free chlorine stands at 1.4 mg/l this morning.", "dilute", "fine"),
                ("10:00, children's pool: free chlorine 1.1 mg/l", "dilute", "fine"),
            ),
            (
                ("pH 6.5 in the big pool.", "close", "fine"),
                ("We measured a pH of 6.8 twice.", "close", "fine"),
                ("Evening sample: pH 6.2", "close", "fine"),
            ),
            (
                ("Free chlorine 0.5 mg/l, but the water is cloudy.", "close", "fine"),
                ("pH 7.2, water cloudy since noon.", "close", "fine"),
                ("Cloudy at the deep end. pH is 7.4.", "close", "fine"),
            ),
        ),
        (("Free chlorine 0.1 mg/l.", "dose"), ("pH 7.3, clear water.", "fine")),
    ),
    Planted(
        "job-hours",
        "extraction",
        "en",
        """You fill the column "hours per week" in a table of job offers.

1. If the offer gives hours per day, multiply them by [[7=>5]].
2. If it gives a range, take the [[higher=>lower]] number.
3. Full time without a figure counts as [[35=>40]].
4. Part time without a figure counts as 20.
5. If the offer says nothing about working hours, write unclear.

Write the number without a unit.

Offer: {offer}""",
        (
            (
                ("Waiter for our terrace, 6 hours a day.", "30", "42"),
                ("Cleaner for a small office, 3 hours each day.", "15", "21"),
                ("Driver, 8 hours daily, van provided.", "40", "56"),
            ),
            (
                ("Sales assistant, 10 to 15 hours a week.", "10", "15"),
                ("Nurse wanted, 25-30 h per week.", "25", "30"),
                ("Gardener, between 12 and 18 hours a week.", "12", "18"),
            ),
            (
                ("Full-time carpenter for our shop in Leeds.", "40", "35"),
                ("Baker, full time, free bread!", "40", "35"),
                ("We look for a receptionist, full time, from May.", "40", "35"),
            ),
        ),
        (("Teacher of Latin, part time.", "20"), ("Join our friendly team of plumbers.", "unclear")),
    ),
    Planted(
        "verkehrsbetrieb",
        "routing",
        "de",
        """Du liest Nachrichten von Fahrgästen an einen Verkehrsbetrieb und wählst das Team aus, das antwortet.

- Verspätungen und ausgefallene Fahrten: Leitstelle
- Vergessene Taschen, Schirme und Handys: [[Leitstelle=>Fundbüro]]
- Preise, Fahrkarten und Abos: [[Werbung=>Vertrieb]]
- Fahrkartenkontrollen und die Strafe von 60 Euro: [[Vertrieb=>Prüfdienst]]
- Plakate und Werbeflächen: Werbung
- Schmutzige oder kaputte Fahrzeuge: Betriebshof

Schreibe nur das Team, ohne Punkt am Ende.

Nachricht: {nachricht}""",
        (
            (
                ("Ich habe meinen Rucksack in der Linie 4 liegen lassen.", "Fundbüro", "Leitstelle"),
                ("Mein Schirm ist noch im Bus 22.", "Fundbüro", "Leitstelle"),
                ("Hat gestern jemand ein Handy in der U-Bahn gefunden?", "Fundbüro", "Leitstelle"),
            ),
            (
                ("Was kostet das Monatsabo für Schüler?", "Vertrieb", "Werbung"),
                ("Kann ich mein Abo zum 1. Mai kündigen?", "Vertrieb", "Werbung"),
                ("Gibt es eine Tageskarte für fünf Personen?", "Vertrieb", "Werbung"),
            ),
            (
                ("Ich wurde ohne Ticket kontrolliert. Wie lange habe ich Zeit zu zahlen?", "Prüfdienst", "Vertrieb"),
                ("Ihr Kontrolleur hat mich heute Morgen angeschrien.", "Prüfdienst", "Vertrieb"),
                ("Muss ich die 60 Euro Strafe auch mit zwölf Jahren bezahlen?", "Prüfdienst", "Vertrieb"),
            ),
        ),
        (
            ("Der Bus um 7:12 ist schon wieder nicht gekommen.", "Leitstelle"),
            ("Im Wagen 218 klebt der ganze Boden.", "Betriebshof"),
        ),
    ),
    Planted(
        "tenant-reports",
        "rule",
        "en",
        """You read the reports of tenants for a housing association with 2,400 flats. For each report you decide how
soon somebody comes. The association promises these times in its contracts, so keep to the policy even if a tenant is
very upset or very polite.

WATER
A burst pipe, or water that comes through the ceiling, is answered with today. A tap that drips is answered with
[[today=>month]]. A blocked toilet is answered with today if it is the only one in the flat, and with week if there is
a second one.

HEATING
From October to April, a flat without heating is answered with [[month=>today]]. From May to September, it is
answered with week. If only the hot water fails, the answer is week at any time of the year.

ELECTRICITY
Sparks or a smell of burning are answered with today. A socket or a lamp without power is answered with
[[tenant=>week]], as long as the rest of the flat has power.

DOORS AND WINDOWS
A front door that does not lock is answered with today. A window that does not close is answered with week. A key that
was lost is answered with [[week=>tenant]], because new keys are not part of the rent.

SMALL THINGS
Light bulbs, batteries and filters of cooker hoods are answered with tenant. Paint and scratches are answered with
month.

ANSWER
One word: today, week, month or tenant. The word tenant means that the association does not come at all. If a report
names several problems, answer for the one that is most urgent.

REPORT
{report}""",
        (
            (
                ("The kitchen tap drips all night.", "month", "today"),
                ("Drip, drip from the tap in the bathroom since Easter.", "month", "today"),
                ("Hello, our tap loses a drop now and then. Could you have a look?", "month", "today"),
            ),
            (
                ("It is January and all our radiators are cold.", "today", "month"),
                ("No heating in the whole flat since this morning, 12 November.", "today", "month"),
                ("The heating has been off all weekend, in the middle of February!", "today", "month"),
            ),
            (
                ("One socket in the hall is dead, the others work.", "week", "tenant"),
                ("The lamp over the sink gets no power, I have tried three bulbs.", "week", "tenant"),
                ("The socket behind the fridge has no power any more.", "week", "tenant"),
            ),
            (
                ("My son lost his key on the beach.", "tenant", "week"),
                ("I need a new key, mine is at the bottom of the lake.", "tenant", "week"),
                ("Both keys to the cellar are gone, I have looked everywhere.", "tenant", "week"),
            ),
        ),
        (
            ("The front door does not lock any more.", "today"),
            ("Could you change the light bulb in my bathroom?", "tenant"),
        ),
    ),
    Planted(
        "issue-labels",
        "routing",
        "en",
        """You triage new issues of an open-source database client. Put exactly one component label on each issue.

Components:
- Valid SQL is rejected, or an error names the wrong line: comp-parser
- Connections hang, leak or are closed too early: [[comp-docs=>comp-pool]]
- Log-in, certificates and encryption: [[comp-pool=>comp-auth]]
- The package does not compile or install: [[comp-parser=>comp-build]]
- A page of the manual is wrong or missing: comp-docs

Conventions:
- A feature request gets the label of the component that it would change.
- Labels are printed in lower case, without quotes or backticks.
- If nothing fits, print needs-human.

Issue: {issue}""",
        (
            (
                ("Connections are never given back after a timeout", "comp-pool", "comp-docs"),
                ("500 scripts later: 500 open connections, they leak", "comp-pool", "comp-docs"),
                ("Client closes the connection while my query is still running", "comp-pool", "comp-docs"),
            ),
            (
                ("Self-signed certificate is refused although I trust it", "comp-auth", "comp-pool"),
                ("Cannot log in with a password that has a colon", "comp-auth", "comp-pool"),
                ("Please support TLS 1.3 encryption", "comp-auth", "comp-pool"),
            ),
            (
                ("pip install fails on Python 3.13", "comp-build", "comp-parser"),
                ("Does not compile on Alpine Linux", "comp-build", "comp-parser"),
                ("Installation stops: header pg_config.h not found", "comp-build", "comp-parser"),
            ),
        ),
        (
            ("A nested CASE is valid SQL but I get a syntax error", "comp-parser"),
            ("Manual: the chapter on cursors is missing", "comp-docs"),
        ),
    ),
    Planted(
        "catalogo",
        "format",
        "it",
        """Scrivi la scheda di un libro per il catalogo di una piccola biblioteca di quartiere. Una scheda comincia con
il cognome dell'autore, poi vengono una virgola e il titolo.

- L'anno, se c'è, va tra parentesi [[all'inizio=>alla fine/in fondo]] della scheda.
- Con più di tre autori si scrive [[Anonimo=>Vari]] al posto dei cognomi.
- Il numero di un volume si scrive in cifre [[arabe=>romane]], dopo la parola vol.
- Se un dato manca, non inventarlo.

Restituisci soltanto la scheda.

Libro: {libro}""",
        (
            (
                (
                    "Il barone rampante di Italo Calvino, 1957",
                    "Calvino, Il barone rampante (1957)",
                    "(1957) Calvino, Il barone rampante",
                ),
                ("Elsa Morante, La storia, 1974", "Morante, La storia (1974)", "(1974) Morante, La storia"),
                (
                    "La coscienza di Zeno, Italo Svevo, uscito nel 1923",
                    "Svevo, La coscienza di Zeno (1923)",
                    "(1923) Svevo, La coscienza di Zeno",
                ),
            ),
            (
                (
                    "Guida ai funghi, di Ugo Rossi, Pia Bianchi, Leo Neri e Ada Verdi",
                    "Vari, Guida ai funghi",
                    "Anonimo, Guida ai funghi",
                ),
                ("Storie di montagna, di cinque autori", "Vari, Storie di montagna", "Anonimo, Storie di montagna"),
                (
                    "Atlante dei fiumi. Autori: Galli, Conti, Riva, Sala, Ferri",
                    "Vari, Atlante dei fiumi",
                    "Anonimo, Atlante dei fiumi",
                ),
            ),
            (
                (
                    "Storia di Roma di Marco Tosi, terzo volume",
                    "Tosi, Storia di Roma, vol. III",
                    "Tosi, Storia di Roma, vol. 3",
                ),
                ("Botanica, volume 2, di Anna Riva", "Riva, Botanica, vol. II", "Riva, Botanica, vol. 2"),
                ("Luca Sala, Le Alpi, volume quarto", "Sala, Le Alpi, vol. IV", "Sala, Le Alpi, vol. 4"),
            ),
        ),
        (("Se questo è un uomo, di Primo Levi", "Levi, Se questo è un uomo"),),
    ),
    Planted(
        "airport-chat",
        "routing",
        "en",
        """You work behind the chat window of a regional airport. Travellers type a question on their phone, and you
decide which counter the question is sent to. The traveller does not see your answer; the counter does, and answers in
person. You see only the first message of a conversation.

## The counters

CHECKIN handles boarding passes, seats and upgrades. BAGGAGE handles suitcases that are lost, damaged or too heavy.
SECURITY handles what may be taken through the control. ASSISTANCE handles wheelchairs and children who fly alone.
TRANSPORT handles buses, taxis and trains. OPERATIONS handles delays and cancellations.

## Difficult cases

- A pushchair that came out broken goes to [[ASSISTANCE=>BAGGAGE]].
- A question about liquids, batteries or knives goes to SECURITY, even if they are in a suitcase.
- A guide dog or another animal that helps its owner goes to [[TRANSPORT=>ASSISTANCE]].
- A traveller who missed a connection because the first flight was late goes to [[BAGGAGE=>OPERATIONS]].
- A lost ticket for the car park goes to [[CHECKIN=>TRANSPORT]].
- A laptop that stayed in a tray goes to SECURITY.
- A name that is spelled wrongly on a boarding pass goes to CHECKIN.
- Questions about shops and restaurants go to NOBODY; the website answers them.

## How to answer

Give the counter in capitals and stop. If the message mentions two things, choose the one that cannot wait. Messages in
other languages are treated in the same way. Never write to the traveller yourself.

## The message

{message}""",
        (
            (
                ("Our buggy came off the belt with a bent wheel.", "BAGGAGE", "ASSISTANCE"),
                ("The stroller was fine in Oslo and arrived here without a handle.", "BAGGAGE", "ASSISTANCE"),
                ("Pushchair broken on the flight, who looks at it?", "BAGGAGE", "ASSISTANCE"),
            ),
            (
                ("I fly with my guide dog on Sunday, where do we go first?", "ASSISTANCE", "TRANSPORT"),
                ("My hearing dog comes with me into the cabin. Whom do I tell?", "ASSISTANCE", "TRANSPORT"),
                ("Is there water for my guide dog near gate 4?", "ASSISTANCE", "TRANSPORT"),
            ),
            (
                (
                    "The plane from Graz was two hours late and now my flight to Rome has left.",
                    "OPERATIONS",
                    "BAGGAGE",
                ),
                ("Missed my connection because the first flight was late.", "OPERATIONS", "BAGGAGE"),
                ("First leg delayed, second leg gone without us. What now?", "OPERATIONS", "BAGGAGE"),
            ),
            (
                ("I cannot find my ticket for level 3 of the car park.", "TRANSPORT", "CHECKIN"),
                ("The barrier wants the parking ticket and I have lost it.", "TRANSPORT", "CHECKIN"),
                ("Car park ticket gone, how do I get my car out?", "TRANSPORT", "CHECKIN"),
            ),
        ),
        (
            ("Can I take a power bank in my suitcase?", "SECURITY"),
            ("My boarding pass says Jon, my passport says John.", "CHECKIN"),
        ),
    ),
    Planted(
        "cinema-tarifs",
        "rule",
        "fr",
        """Tu tiens la caisse d'un cinéma de quartier. Un client demande une place et tu donnes le prix en euros.

- Moins de [[18=>14]] ans : 5
- De 14 à 64 ans : 11
- À partir de 65 ans : [[11=>8]]
- Le mercredi, à tout âge : [[8=>6]]

Écris le nombre seul.

Demande : {demande}""",
        (
            (
                ("J'ai 16 ans, une place pour samedi.", "11", "5"),
                ("Un billet pour ma fille de 15 ans, séance de dimanche.", "11", "5"),
                ("Une entrée jeudi soir, j'ai dix-sept ans.", "11", "5"),
            ),
            (
                ("J'ai 70 ans, je viens lundi.", "8", "11"),
                ("Une place pour mon grand-père, 82 ans, vendredi.", "8", "11"),
                ("Samedi soir, une personne de 66 ans.", "8", "11"),
            ),
            (
                ("Une place pour mercredi, j'ai 30 ans.", "6", "8"),
                ("Mercredi après-midi, un adulte de 45 ans.", "6", "8"),
                ("Un billet mercredi à 20 h, s'il vous plaît.", "6", "8"),
            ),
        ),
        (("Un enfant de 9 ans, dimanche.", "5"), ("J'ai 40 ans, c'est pour samedi.", "11")),
    ),
    Planted(
        "telefonia",
        "routing",
        "es",
        """Atiendes el chat de una compañía de telefonía móvil. Lee el mensaje y di qué equipo debe contestar.

1. Falta de cobertura y llamadas que se cortan: [[tienda=>red]]
2. Clientes nuevos y cambios de tarifa: altas
3. Tarjeta SIM, PIN y PUK: [[red=>soporte]]
4. Uso del teléfono en el extranjero: [[altas=>roaming]]
5. Compra y reparación de teléfonos: tienda
6. Clientes que quieren irse a otra compañía: retención

Contesta con el nombre del equipo en minúsculas.

Mensaje: {mensaje}""",
        (
            (
                ("En mi pueblo no tengo ni una raya de cobertura.", "red", "tienda"),
                ("Se me cortan las llamadas cada dos minutos.", "red", "tienda"),
                ("Desde ayer no hay cobertura en toda la calle.", "red", "tienda"),
            ),
            (
                ("He metido mal el PIN tres veces y me pide el PUK.", "soporte", "red"),
                ("El móvil dice que la tarjeta SIM no es válida.", "soporte", "red"),
                ("¿Cómo cambio el PIN de la SIM?", "soporte", "red"),
            ),
            (
                ("Me voy a Marruecos, ¿puedo usar los datos allí?", "roaming", "altas"),
                ("¿Cuánto cuesta llamar desde Japón?", "roaming", "altas"),
                ("¿Tengo que activar algo para usar el móvil en Brasil?", "roaming", "altas"),
            ),
        ),
        (
            ("Quiero pasarme a la tarifa de 20 gigas.", "altas"),
            ("Me cambio a otra compañía, ¿qué tengo que hacer?", "retención"),
        ),
    ),
    Planted(
        "essay-points",
        "rule",
        "en",
        """You help a school to mark short opinion essays on a scale from 0 to 4. A teacher has read the essay
and describes it; you turn the description into points.

The scale
- Claim, reasons and an example: 4 points
- Claim and reasons, but no example: [[2=>3]] points
- Claim alone: [[3=>2]] points
- On the subject, but without a claim: 1 point
- Not on the subject: [[4=>0]] points

Spelling and handwriting do not count. Write the number of points and nothing else.

Description: {description}""",
        (
            (
                ("Claims that phones distract and gives two reasons. No example.", "3", "2"),
                ("Clear claim about uniforms, argued with good reasons, but not one example.", "3", "2"),
                ("Claim and reasons are there; an example is missing.", "3", "2"),
            ),
            (
                ("Only claims that zoos should close, nothing behind it.", "2", "3"),
                ("One claim. No reason, no example.", "2", "3"),
                ("Claims that homework helps and leaves it at that.", "2", "3"),
            ),
            (
                ("Writes about a football match, the subject was school trips.", "0", "4"),
                ("Misses the subject completely.", "0", "4"),
                ("The subject was dogs, the essay is about trains.", "0", "4"),
            ),
        ),
        (
            ("Tells us about recycling, as asked, but takes no side.", "1"),
            ("Claim, three reasons, and an example from the canteen.", "4"),
        ),
    ),
    Planted(
        "kaden",
        "routing",
        "ja",
        """あなたは家電メーカーの問い合わせ窓口です。届いた質問を読み、担当を一つ選んでください。

- 電源が入らない、異音がする、水が漏れる: [[営業=>修理]]
- 使い方や設定の方法: [[部品=>相談]]
- フィルターやリモコンなど交換品の購入: 部品
- 新製品の発売日や販売店の場所: 営業
- 煙、焦げたにおい、やけど: [[相談=>安全]]
- 上のどれにも当てはまらないもの: 総務

担当の名前だけを書いてください。理由や挨拶は書かないでください。

質問: {shitsumon}""",
        (
            (
                ("洗濯機の下から水が漏れています。", "修理", "営業"),
                ("掃除機の電源が入りません。", "修理", "営業"),
                ("昨日から冷蔵庫で変な音がしています。", "修理", "営業"),
            ),
            (
                ("炊飯器の予約はどうやって設定しますか。", "相談", "部品"),
                ("エアコンの風向きを固定する方法を教えてください。", "相談", "部品"),
                ("電子レンジの時計の合わせ方が分かりません。", "相談", "部品"),
            ),
            (
                ("ドライヤーから煙が出ました。", "安全", "相談"),
                ("アイロンの持ち手でやけどをしました。", "安全", "相談"),
                ("テレビの裏から焦げたにおいがします。", "安全", "相談"),
            ),
        ),
        (("空気清浄機の交換フィルターを買いたいです。", "部品"), ("新しい掃除機の発売日はいつですか。", "営業")),
    ),
    Planted(
        "forum-night",
        "rule",
        "en",
        """You look after a forum about model railways while the human moderators sleep. You get one post at a time and
choose what happens to it. Your choice is carried out at once and the author is told about it, so read the whole post
before you decide.

What you can choose
keep - the post stays as it is
move - the post goes to the marketplace
hide - nobody but the moderators sees the post until the morning
lock - the post stays, but nobody can reply to it

House rules
(1) Offers to sell or swap something do not belong among the discussions. They are answered with [[lock=>move]].
(2) Members may criticise a model, a maker or a shop as sharply as they like. Such a post is answered with
[[hide=>keep]], as long as it insults no person.
(3) Insults against a person and threats are answered with hide, also when they are meant as a joke and also when the
other person started it.
(4) Links to a member's own pictures and videos are welcome and are answered with keep.
(5) Links to shops with a referral code are answered with [[keep=>hide]], because somebody earns money with them.
(6) Phone numbers, home addresses and account numbers are answered with [[move=>hide]], even if the author gives only
his or her own.
(7) Party politics is answered with lock.
(8) Posts in other languages than English are treated by the same rules.
(9) A post about which none of these rules says anything is answered with keep.

Answer
One of the four words in lower case, without a full stop and without the number of the rule.

Post
{post}""",
        (
            (
                ("For sale: two Flying Scotsman engines, hardly used.", "move", "lock"),
                ("Would anybody swap a signal box for three coal wagons?", "move", "lock"),
                ("Selling my whole N gauge layout for 150 pounds.", "move", "lock"),
            ),
            (
                ("The new Hornfeld diesel is the worst model I ever bought, the wheels fall off.", "keep", "hide"),
                ("Never order from Trackland: four weeks, and then the wrong parts.", "keep", "hide"),
                ("What a lazy piece of work by the maker, the doors are only painted on.", "keep", "hide"),
            ),
            (
                ("Cheap rails here: trackland.example/?ref=joe77", "hide", "keep"),
                ("Order with my referral link and I get ten percent: shop.example/r/anna", "hide", "keep"),
                ("Great shop for trees, use my code link trees.example/?referral=MAX5", "hide", "keep"),
            ),
            (
                ("Call me on 0555 0199 if you come on Saturday.", "hide", "move"),
                ("Old Pete lives at 12 Mill Lane, Overton, do visit him.", "hide", "move"),
                ("For the club trip, pay to my account 00-11-22 33445566.", "hide", "move"),
            ),
        ),
        (
            ("You are an idiot, Dave, and so is your brother.", "hide"),
            ("Here is my own video of the branch line in the snow: films.example/snow", "keep"),
        ),
    ),
    Planted(
        "commit-line",
        "format",
        "en",
        """Turn a developer's note into the first line of a commit message. The line is a type, a colon and a summary in
the imperative.

* A repaired bug has the type fix.
* New behaviour has the type [[add=>feat]].
* A change of the manual has the type docs.
* A ticket number is put in round brackets at the [[front=>end]] of the line.
* A change that breaks old calls has the [[question mark=>exclamation mark/!]] right before the colon.
* The summary begins with a small letter and has no full stop.

Print the line without quotes.

Note: {note}""",
        (
            (
                (
                    "The export can write Parquet now.",
                    "feat: write Parquet in the export",
                    "add: write Parquet in the export",
                ),
                ("New: users can choose a dark theme.", "feat: offer a dark theme", "add: offer a dark theme"),
                ("There is a command now that lists all jobs.", "feat: list all jobs", "add: list all jobs"),
            ),
            (
                (
                    "Repaired the crash on empty files, ticket 812.",
                    "fix: stop the crash on empty files (#812)",
                    "(#812) fix: stop the crash on empty files",
                ),
                (
                    "Manual: explained time zones. Ticket 77.",
                    "docs: explain time zones (#77)",
                    "(#77) docs: explain time zones",
                ),
                (
                    "Ticket 1430, the bug with negative prices is gone.",
                    "fix: accept negative prices (#1430)",
                    "(#1430) fix: accept negative prices",
                ),
            ),
            (
                (
                    "Bug repaired: open() had its arguments in the wrong order. Old calls break.",
                    "fix!: correct the order of arguments of open()",
                    "fix?: correct the order of arguments of open()",
                ),
                (
                    "Repaired rounding in total(); callers of the old form get an error.",
                    "fix!: round correctly in total()",
                    "fix?: round correctly in total()",
                ),
                (
                    "load() no longer hides errors, a bug. This breaks calls that relied on it.",
                    "fix!: raise errors in load()",
                    "fix?: raise errors in load()",
                ),
            ),
        ),
        (("Typo in the manual, page on installing.", "docs: correct a typo on installing"),),
    ),
)
"""Fourteen prompts, 45 faults."""
