"""A second set of held-out prompts with planted faults.

They were written after the first set had been measured once, by an author who had not seen the method, and before any
model had seen them. What `held_out.py` says of its prompts holds for these.
"""

from __future__ import annotations

from benchmarks.real_models.prompts import Planted

SECOND_HELD_OUT = (
    Planted(
        "theatre-calls",
        "routing",
        "en",
        """During a show the desk of the stage manager gets short calls. Say which department has to act.

- Lamps, colour filters and follow spots: Lights
- Microphones, speakers and music: [[Wardrobe=>Sound]]
- Costumes that are torn or missing: [[Props=>Wardrobe]]
- Objects that the actors carry or use: [[Lights=>Props]]
- Doors, aisles and the audience: Front

Answer with the department only.

Call: {call}""",
        (
            (
                ("The singer's microphone crackles in every song.", "Sound", "Wardrobe"),
                ("No music came at the start of scene two.", "Sound", "Wardrobe"),
                ("The left speaker hums.", "Sound", "Wardrobe"),
            ),
            (
                ("The Duke's coat tore at the shoulder.", "Wardrobe", "Props"),
                ("Nobody can find the maid's costume for act three.", "Wardrobe", "Props"),
                ("There is a split seam in the dress of the queen.", "Wardrobe", "Props"),
            ),
            (
                ("The letter that Nora reads out is not on the table.", "Props", "Lights"),
                ("The handle of the teapot broke off, and he pours from it in the next scene.", "Props", "Lights"),
                ("We are one sword short for the duel.", "Props", "Lights"),
            ),
        ),
        (
            ("The follow spot on the balcony went out.", "Lights"),
            ("Two guests are standing in the aisle with a pram.", "Front"),
        ),
    ),
    Planted(
        "pot-shipping",
        "rule",
        "en",
        """A wholesaler of garden pots and lanterns wants to know how an order leaves the warehouse. Go through the
lines from top to bottom and take the first one that fits.

1. The address is on an island: [[pallet=>ferry]]
2. There is glass in the order: [[post=>courier]]
3. Up to 5 kg: post
4. Up to [[60=>30]] kg: courier
5. Over 30 kg: pallet

Write one word: post, courier, pallet or ferry.

Order: {order}""",
        (
            (
                ("12 kg of clay pots for an inn on the island of Jura.", "ferry", "pallet"),
                ("Three pots, 4 kg, to a farm on Lundy Island.", "ferry", "pallet"),
                ("22 kg of pots. The customer lives on the island of Sark.", "ferry", "pallet"),
            ),
            (
                ("Eight glass lanterns, 14 kg, for a shop in Leeds.", "courier", "post"),
                ("One lantern made of glass, 2 kg, to Bristol.", "courier", "post"),
                ("Pots and a glass bowl for a hotel in York, 21 kg in all.", "courier", "post"),
            ),
            (
                ("42 kg of clay pots for a garden centre in Derby.", "pallet", "courier"),
                ("Stone pots, 55 kg, to Norwich.", "pallet", "courier"),
                ("A shop in Luton orders flower pots, together 33 kg.", "pallet", "courier"),
            ),
        ),
        (
            ("Two clay pots of 4 kg in all for a customer in Exeter.", "post"),
            ("18 kg of clay pots to Bath.", "courier"),
            ("90 kg of stone pots for a park in Hull.", "pallet"),
        ),
    ),
    Planted(
        "phone-log",
        "format",
        "en",
        """Turn what a receptionist dictates into one line of the phone log. The line has the time, the caller and the
matter, with slashes between them, such as 09:15 / Mrs Lopez / boiler.

- The time is on the [[12-hour=>24-hour/24 hour]] clock, without am or pm, and always has two digits for the hour.
- The matter is a word or two, without an article.
- An urgent call has the mark [[RED=>PRIO]] in front of the time.
- A number for calling back comes last, in [[round=>square]] brackets.
- Leave out what was not said.

Write the line and nothing else.

Dictation: {dictation}""",
        (
            (
                (
                    "Mr Hill rang at half past two in the afternoon about a quote.",
                    "14:30 / Mr Hill / quote",
                    "02:30 / Mr Hill / quote",
                ),
                (
                    "At ten to five in the afternoon Ms Adler asked about her contract.",
                    "16:50 / Ms Adler / contract",
                    "04:50 / Ms Adler / contract",
                ),
                (
                    "Mrs Novak, 1:05 pm, about a broken window.",
                    "13:05 / Mrs Novak / broken window",
                    "01:05 / Mrs Novak / broken window",
                ),
            ),
            (
                (
                    "Urgent! Mr Okafor rang at 8:50 in the morning about a water leak.",
                    "PRIO 08:50 / Mr Okafor / water leak",
                    "RED 08:50 / Mr Okafor / water leak",
                ),
                (
                    "Ms Berg called at ten past eleven in the morning about the alarm, it is urgent.",
                    "PRIO 11:10 / Ms Berg / alarm",
                    "RED 11:10 / Ms Berg / alarm",
                ),
                (
                    "Urgent call at 9:45 am: Dr Singh, about the lift.",
                    "PRIO 09:45 / Dr Singh / lift",
                    "RED 09:45 / Dr Singh / lift",
                ),
            ),
            (
                (
                    "Ms Chen rang at 9:20 in the morning about the lease, call her back on 555 0142.",
                    "09:20 / Ms Chen / lease [555 0142]",
                    "09:20 / Ms Chen / lease (555 0142)",
                ),
                (
                    "10:30 am, Mr Lund about the heating. His number is 555 0177.",
                    "10:30 / Mr Lund / heating [555 0177]",
                    "10:30 / Mr Lund / heating (555 0177)",
                ),
                (
                    "Mrs Roy, at eight in the morning, about a job. Please ring back: 555 0119.",
                    "08:00 / Mrs Roy / job [555 0119]",
                    "08:00 / Mrs Roy / job (555 0119)",
                ),
            ),
        ),
        (
            ("Mrs Park rang at quarter past ten in the morning about a parcel.", "10:15 / Mrs Park / parcel"),
            ("At 11:40 am Mr Diaz asked about prices.", "11:40 / Mr Diaz / prices"),
        ),
    ),
    Planted(
        "verlag",
        "routing",
        "de",
        """Du sortierst die Post eines kleinen Verlags und nennst die Abteilung, die den Brief bekommt.

* Manuskripte und Ideen für neue Bücher: Lektorat
* Schlechter Druck, lose oder fehlende Seiten: [[Lizenzen=>Herstellung]]
* Übersetzungen, Verfilmungen und Hörbücher: [[Presse=>Lizenzen]]
* Bestellungen von Buchhandlungen: Auslieferung
* Rezensionen und Interviews: [[Lektorat=>Presse]]
* Honorare und Abrechnungen: Buchhaltung

Passt ein Brief zu zwei Abteilungen, gilt das erste Anliegen. Antworte mit einem Wort.

Brief: {brief}""",
        (
            (
                ("In meinem Exemplar fehlen die Seiten 33 bis 48.", "Herstellung", "Lizenzen"),
                ("Schon nach einer Woche fallen die Seiten aus dem Roman.", "Herstellung", "Lizenzen"),
                ("Der Druck auf Seite 12 ist so blass, dass man nichts lesen kann.", "Herstellung", "Lizenzen"),
            ),
            (
                ("Wir möchten Ihren Krimi ins Polnische übersetzen.", "Lizenzen", "Presse"),
                ("Unsere Firma will den Roman über die Insel verfilmen.", "Lizenzen", "Presse"),
                ("Dürfen wir aus dem Märchenbuch ein Hörbuch machen?", "Lizenzen", "Presse"),
            ),
            (
                ("Für eine Rezension in unserer Zeitung bräuchte ich den neuen Band.", "Presse", "Lektorat"),
                ("Das Radio möchte Ihre Autorin am Montag interviewen.", "Presse", "Lektorat"),
                ("Ich will das Kinderbuch auf meinem Blog rezensieren. Schicken Sie es mir?", "Presse", "Lektorat"),
            ),
        ),
        (
            ("Anbei schicke ich Ihnen mein Manuskript über Bienen.", "Lektorat"),
            ("Die Buchhandlung Sommer bestellt 20 Wanderkarten.", "Auslieferung"),
            ("Wann wird mein Honorar für März überwiesen?", "Buchhaltung"),
        ),
    ),
    Planted(
        "dechetterie",
        "rule",
        "fr",
        """Tu es à l'entrée d'une déchetterie. Un visiteur dit ce qu'il apporte et tu réponds gratuit, payant ou refusé.
Applique la première ligne qui convient.

1. Amiante : [[payant=>refusé]]
2. Déchets d'une entreprise : [[gratuit=>payant]]
3. Déchets verts jusqu'à [[6=>2]] m³ : gratuit
4. Déchets verts, plus de 2 m³ : payant
5. Quatre pneus au plus : gratuit
6. Plus de quatre pneus : refusé
7. Appareils électriques : gratuit

Réponds par un seul mot, en minuscules.

Visiteur : {visiteur}""",
        (
            (
                ("Trois plaques d'amiante du toit de mon garage.", "refusé", "payant"),
                ("J'ai un vieux tuyau en amiante dans le coffre.", "refusé", "payant"),
                ("Une dizaine d'ardoises en amiante.", "refusé", "payant"),
            ),
            (
                ("Je viens pour mon entreprise de jardinage, 1 m³ de branches.", "payant", "gratuit"),
                ("Notre entreprise jette deux vieux frigos.", "payant", "gratuit"),
                ("C'est pour l'entreprise Morel : une machine à laver.", "payant", "gratuit"),
            ),
            (
                ("4 m³ de branches de mon jardin.", "payant", "gratuit"),
                ("Une remorque avec 3 m³ d'herbe coupée, c'est pour la maison.", "payant", "gratuit"),
                ("5 m³ de feuilles mortes, je suis un particulier.", "payant", "gratuit"),
            ),
        ),
        (
            ("Les quatre pneus d'hiver de ma voiture.", "gratuit"),
            ("1 m³ d'herbe de mon jardin.", "gratuit"),
            ("J'apporte huit pneus.", "refusé"),
        ),
    ),
    Planted(
        "walk-minutes",
        "extraction",
        "en",
        """You read the description of a walk and fill the column "minutes" in a table of a tourist office.

1. Turn hours into minutes.
2. If there is no time but a distance, count [[10=>15]] minutes for each kilometre.
3. If the time is for one way only, [[keep=>double/twice/multiply]] it.
4. If a range is given, take the [[shorter=>longer]] time.
5. If there is a time and a distance, use the time.
6. If there is neither a time nor a distance, write unknown.

Write the number without a unit.

Description: {description}""",
        (
            (
                ("Along the canal, 6 km, flat all the way round.", "90", "60"),
                ("A round of 4 kilometres through the woods.", "60", "40"),
                ("10 km across the moor and back, bring a map.", "150", "100"),
            ),
            (
                ("To the old tower it is 40 minutes one way.", "80", "40"),
                ("One way takes 1 hour, and you return by the same path.", "120", "60"),
                ("Up to the chapel: 25 minutes (one way).", "50", "25"),
            ),
            (
                ("Allow 2 to 3 hours for the whole round.", "180", "120"),
                ("Between 45 and 60 minutes around the lake.", "60", "45"),
                ("A loop of 90-120 minutes above the village.", "120", "90"),
            ),
        ),
        (
            ("The loop past the mill takes 2 hours.", "120"),
            ("A round walk of 5 km, 80 minutes.", "80"),
            ("A lovely walk for the whole family.", "unknown"),
        ),
    ),
    Planted(
        "congress-inbox",
        "routing",
        "en",
        """You read the inbox of a medical congress that is held in Lisbon every June. About 3,000 guests come, and in
the last weeks before the opening several hundred messages arrive each day. You see one message at a time and name the
team that has to answer it. The teams sit in different cities and do not forward messages to each other, so a wrong name
means that nobody answers.

TEAMS
Registration: tickets, badges, group bookings, cancellations
Programme: talks, time slots, abstracts, posters
Venue: rooms, microphones, lifts, cloakrooms
Travel: hotels, shuttle buses, transfers from the airport
Sponsors: advertisements, logos, flyers in the congress bag
Press: interviews, photographs, free tickets for journalists

NOTES
- A letter of invitation for a visa is written by [[Press=>Travel]].
- A speaker who falls ill or is late is a matter for Programme.
- Power, carpets and furniture for a stand in the exhibition are a matter for [[Programme=>Sponsors]].
- Things that were lost or found in the building are kept by Venue.
- A certificate of attendance is sent out by [[Venue=>Registration]], but not before the congress has ended.
- Complaints about the food are read by Venue, although another company cooks it.
- A guest who wants to bring a child writes to Registration.

HOW TO ANSWER
Give one team, spelled as above, and no other word. If a message has two subjects, take the first one. Messages in
Portuguese or Spanish are treated in the same way. Offers from companies that want to sell addresses are answered with
Nobody.

MESSAGE
{message}""",
        (
            (
                ("The embassy in Lagos wants a letter of invitation for my visa.", "Travel", "Press"),
                ("Could you send me an invitation letter? I need it to apply for a visa.", "Travel", "Press"),
                ("Visa appointment on Friday, and I still have no invitation letter from you.", "Travel", "Press"),
            ),
            (
                ("Our stand B14 needs a second power socket.", "Sponsors", "Programme"),
                ("Can we rent two tables and a sofa for our stand?", "Sponsors", "Programme"),
                ("Which colours of carpet are there for the stands in the exhibition?", "Sponsors", "Programme"),
            ),
            (
                ("Where do I get my certificate of attendance?", "Registration", "Venue"),
                ("My hospital asks for a proof that I attended, please send the certificate.", "Registration", "Venue"),
                ("The name on my certificate of attendance is wrong.", "Registration", "Venue"),
            ),
        ),
        (
            ("I left a grey scarf in room 2.", "Venue"),
            ("My abstract was accepted, how large may the poster be?", "Programme"),
            ("Is there a shuttle bus from the airport on Sunday?", "Travel"),
        ),
    ),
    Planted(
        "donantes",
        "rule",
        "es",
        """Una persona quiere donar sangre y cuenta algo sobre su salud. Responde con apta, espera o excluida. Vale la
primera línea que corresponda.

1. Hepatitis, también hace muchos años: excluida
2. Menos de 18 años: espera
3. Menos de 50 kg: excluida
4. Embarazo: [[apta=>espera]]
5. Fiebre en las dos últimas semanas: [[excluida=>espera]]
6. Tatuaje de hace menos de [[12=>4]] meses: espera
7. Tatuaje de hace 4 meses o más: apta
8. Nada de lo anterior: apta

La edad y el peso solo importan si la persona los dice. Escribe una sola palabra.

Persona: {persona}""",
        (
            (
                ("Estoy embarazada de cinco meses.", "espera", "apta"),
                ("Tengo 31 años, peso 64 kg y estoy embarazada.", "espera", "apta"),
                ("Embarazo de diez semanas, todo va bien.", "espera", "apta"),
            ),
            (
                ("Tuve fiebre hace cuatro días, hoy ya estoy bien.", "espera", "excluida"),
                ("Ayer tenía 38,5 de fiebre.", "espera", "excluida"),
                ("La semana pasada pasé dos días en cama con fiebre.", "espera", "excluida"),
            ),
            (
                ("Me hice un tatuaje en el brazo hace siete meses.", "apta", "espera"),
                ("Mi último tatuaje es de hace nueve meses.", "apta", "espera"),
                ("Un tatuaje pequeño en el tobillo, hace 5 meses.", "apta", "espera"),
            ),
        ),
        (
            ("De niño pasé una hepatitis.", "excluida"),
            ("Tengo 40 años, peso 80 kg y estoy sano.", "apta"),
            ("Tengo 16 años y quiero ayudar.", "espera"),
        ),
    ),
    Planted(
        "pessoal",
        "routing",
        "pt",
        """Os empregados de uma fábrica de calçado escrevem ao departamento de pessoal. Indica a secção que responde.

1. Recibos de vencimento e horas extra: salários
2. Cursos e certificados: [[contratos=>formação]]
3. Renovações e períodos experimentais: [[saúde=>contratos]]
4. Acidentes de trabalho e exames médicos: [[salários=>saúde]]
5. Candidaturas de amigos e familiares: recrutamento
6. Refeições e máquinas de café: cantina

Escreve apenas a secção, em minúsculas e sem ponto final.

Mensagem: {mensagem}""",
        (
            (
                ("Quando começa o curso de inglês?", "formação", "contratos"),
                ("Ainda não recebi o certificado do curso de costura.", "formação", "contratos"),
                ("Posso inscrever-me no curso de informática?", "formação", "contratos"),
            ),
            (
                ("Sou temporário até junho. Vou ter uma renovação?", "contratos", "saúde"),
                ("Quanto tempo dura o meu período experimental?", "contratos", "saúde"),
                ("Já assinei a renovação, quando recebo uma cópia?", "contratos", "saúde"),
            ),
            (
                ("Esta manhã cortei a mão na máquina de corte.", "saúde", "salários"),
                ("A que horas é o meu exame médico?", "saúde", "salários"),
                ("Tive um acidente no armazém, caí da escada.", "saúde", "salários"),
            ),
        ),
        (
            ("Faltam duas horas extra no meu recibo de maio.", "salários"),
            ("O meu primo quer candidatar-se, para onde manda o currículo?", "recrutamento"),
            ("A máquina de café do segundo andar está vazia.", "cantina"),
        ),
    ),
    Planted(
        "travel-expenses",
        "rule",
        "en",
        """You check the travel expenses of the sales staff of a company that builds kitchens. Each claim is one
purchase, and you decide what happens to it. Bookkeeping acts on your answer without looking at the claim again. In each
section below, the first sentence that fits decides.

WORDS
There are four answers. The answer pay means that the company pays everything. The answer cut means that it pays only
up to the limit. The answer ask means that a manager decides. The answer reject means that it pays nothing.

MEALS
A meal at the place where the person lives is answered with reject. A meal on a trip is answered with pay if it cost
[[80=>40]] pounds or less. A meal on a trip for more than 40 pounds is answered with cut.

TRAIN AND CAR
A ticket in second class is answered with pay. A ticket in first class is answered with [[reject=>ask]]. A taxi is
answered with pay up to 30 pounds and with ask above that. Fuel for a company car is answered with pay. A fine for
speed or parking is answered with [[pay=>reject]], also when the customer was in a hurry.

HOTEL
A night for 150 pounds or less is answered with pay. A dearer night is answered with cut. Films and the minibar are
answered with reject.

RECEIPTS
If a receipt is missing, the claim says so. Then the answer is ask, whatever the other sections say.

ANSWER
One of the four words, in lower case, without a reason.

CLAIM
{claim}""",
        (
            (
                ("Dinner on the trip to Hull, 62 pounds.", "cut", "pay"),
                ("Trip to Cardiff: lunch for 55 pounds.", "cut", "pay"),
                ("A meal on the trip to Leeds, it came to 43 pounds.", "cut", "pay"),
            ),
            (
                ("First-class train ticket from London to York, 120 pounds.", "ask", "reject"),
                ("Train to Glasgow, first class, because second was full.", "ask", "reject"),
                ("Return ticket to Bath in first class, 88 pounds.", "ask", "reject"),
            ),
            (
                ("Speeding fine on the M1, 100 pounds.", "reject", "pay"),
                ("35 pounds for a parking fine in front of the customer's house.", "reject", "pay"),
                ("Fine, 60 pounds: too fast on the way to a customer in Stoke.", "reject", "pay"),
            ),
        ),
        (
            ("Second-class ticket to Bristol, 45 pounds.", "pay"),
            ("Hotel in Perth, one night for 190 pounds.", "cut"),
            ("Taxi to the trade fair, 18 pounds, receipt missing.", "ask"),
        ),
    ),
    Planted(
        "food-bank-labels",
        "format",
        "en",
        """Write the label for a box at a food bank. A label begins with the product and a capital letter, then come a
comma and the weight, such as Rice, 5 kg.

(1) A weight below 1 kg is given in [[kilograms=>grams/g]].
(2) If the best-before date is known, it follows after a comma. The month is written as a
[[number=>word/name/letters/full]] and the year comes after it, with a blank between them.
(3) Food with nuts gets a comma and the letter [[X=>N]] at the end.
(4) Leave out what the note does not say, and brand names too.

Return the label only.

Note: {note}""",
        (
            (
                ("Oats, half a kilogram", "Oats, 500 g", "Oats, 0.5 kg"),
                ("a bag of raisins, 0.25 kg", "Raisins, 250 g", "Raisins, 0.25 kg"),
                ("0.75 kg salt", "Salt, 750 g", "Salt, 0.75 kg"),
            ),
            (
                (
                    "white beans, 2 kg, best before October 2027",
                    "White beans, 2 kg, October 2027",
                    "White beans, 2 kg, 10 2027",
                ),
                ("sugar 4 kg, best before 12/2028", "Sugar, 4 kg, December 2028", "Sugar, 4 kg, 12 2028"),
                (
                    "3 kg of flour, keeps until the end of November 2026",
                    "Flour, 3 kg, November 2026",
                    "Flour, 3 kg, 11 2026",
                ),
            ),
            (
                ("walnut bread, 2 kg", "Walnut bread, 2 kg, N", "Walnut bread, 2 kg, X"),
                ("Hazelnut spread, 1 kg", "Hazelnut spread, 1 kg, N", "Hazelnut spread, 1 kg, X"),
                ("6 kg almond biscuits", "Almond biscuits, 6 kg, N", "Almond biscuits, 6 kg, X"),
            ),
        ),
        (("lentils, 2 kg", "Lentils, 2 kg"), ("10 kg of potatoes", "Potatoes, 10 kg")),
    ),
    Planted(
        "voetbalclub",
        "routing",
        "nl",
        """Je leest de mails aan een voetbalclub en kiest wie er antwoord geeft.

- Contributie en rekeningen: penningmeester
- Wedstrijden die verplaatst of afgelast worden: [[trainer=>wedstrijdleider]]
- Ballen, doelen en shirts die kapot zijn: [[penningmeester=>materiaalman]]
- Nieuwe leden en opzeggingen: [[kantinebaas=>secretaris]]
- Trainingstijden en blessures: trainer
- Bardiensten en feesten: kantinebaas
- Iets anders: voorzitter

Schrijf alleen de functie op, zonder naam en zonder punt.

Mail: {mail}""",
        (
            (
                ("Is de wedstrijd van zondag verplaatst?", "wedstrijdleider", "trainer"),
                ("Onze tegenstander wil de wedstrijd een week later spelen.", "wedstrijdleider", "trainer"),
                ("Wordt de wedstrijd van JO14 afgelast nu het zo regent?", "wedstrijdleider", "trainer"),
            ),
            (
                ("In het doel op veld 2 zit een groot gat in het net.", "materiaalman", "penningmeester"),
                ("We hebben nog maar drie ballen, de rest is lek.", "materiaalman", "penningmeester"),
                ("Vier shirts van JO11 zijn gescheurd.", "materiaalman", "penningmeester"),
            ),
            (
                ("Mijn dochter van acht wil graag lid worden.", "secretaris", "kantinebaas"),
                ("Ik zeg mijn lidmaatschap op per 1 juli.", "secretaris", "kantinebaas"),
                ("Hoe meld ik mijn zoon aan als nieuw lid?", "secretaris", "kantinebaas"),
            ),
        ),
        (
            ("Wanneer moet de contributie betaald zijn?", "penningmeester"),
            ("Ik kan vrijdag geen bardienst draaien.", "kantinebaas"),
            ("Hoe laat traint JO13 op woensdag?", "trainer"),
        ),
    ),
    Planted(
        "formaggi",
        "rule",
        "it",
        """A un concorso di formaggi la giuria assegna fino a 100 punti. Scrivi il premio: oro, argento, bronzo o
niente. Vale la prima riga adatta.

- Consegna dopo il [[30=>15]] aprile: niente
- Almeno [[80=>90]] punti: oro
- Da 75 a 89 punti: argento
- Da 60 a 74 punti: bronzo
- Meno di 60 punti: [[bronzo=>niente]]

Se la data manca, la consegna è puntuale. Rispondi con una parola.

Formaggio: {formaggio}""",
        (
            (
                ("Pecorino, consegnato il 16 aprile, 77 punti.", "niente", "argento"),
                ("Caciotta, 68 punti, consegna il 16 aprile alle nove.", "niente", "bronzo"),
                ("Robiola: 79 punti, consegnata il 17 aprile.", "niente", "argento"),
            ),
            (
                ("Gorgonzola dolce, 84 punti.", "argento", "oro"),
                ("Toma di montagna, consegnata il 3 aprile, 81 punti.", "argento", "oro"),
                ("88 punti per una scamorza affumicata.", "argento", "oro"),
            ),
            (
                ("Caprino fresco: 42 punti.", "niente", "bronzo"),
                ("Una mozzarella con 57 punti.", "niente", "bronzo"),
                ("Taleggio, 35 punti, consegnato il 2 aprile.", "niente", "bronzo"),
            ),
        ),
        (
            ("Parmigiano, 95 punti.", "oro"),
            ("Fontina, 66 punti, consegnata il 10 aprile.", "bronzo"),
            ("Asiago, consegnato il 15 aprile, 76 punti.", "argento"),
        ),
    ),
    Planted(
        "law-office",
        "routing",
        "en",
        """People call a law office, and the assistant types a sentence or two about each call. You choose the field, so
that the right lawyer calls back on the same day.

Divorce, custody and adoption belong to family. Dismissal, wages and quarrels with a boss belong to
[[property=>employment]]. Buying, selling and letting a house or a flat belong to [[estates=>property]]. Last wills and
what the dead leave behind belong to [[family=>estates]]. Accidents on the road and mistakes of doctors belong to
injury. The office takes no cases about taxes or crimes; they are answered with none.

Do not give advice. If a caller has two matters, take the one that is named first. Answer with the field in lower case.

Call: {call}""",
        (
            (
                ("She was dismissed after twelve years without any warning.", "employment", "property"),
                ("The bakery where he works has not paid his wages since March.", "employment", "property"),
                ("His boss shouts at him and now wants to cut his hours.", "employment", "property"),
            ),
            (
                ("They are buying a cottage, and the seller has just raised the price.", "property", "estates"),
                ("Wants to let her flat to students, needs a contract.", "property", "estates"),
                ("He sold his house, and the buyer does not pay.", "property", "estates"),
            ),
            (
                ("He wants to write his last will.", "estates", "family"),
                ("Her neighbour died and left her a painting, now somebody else claims it.", "estates", "family"),
                ("They found two wills of the late Mr Grant with different dates.", "estates", "family"),
            ),
        ),
        (
            ("She wants a divorce and asks who pays for it.", "family"),
            ("A van hit his bicycle and broke his arm.", "injury"),
            ("Question about income tax for last year.", "none"),
        ),
    ),
    Planted(
        "run-bibs",
        "rule",
        "en",
        """You look after the entries for a city run of ten kilometres. Every runner gets a bib in a colour, and runners
with the same colour start together. The first line that fits decides.

(a) Takes part in a wheelchair: [[red=>white]]
(b) Under [[21=>18]] years old: green

The other lines are for adults, 18 years and older. They go by the best time over ten kilometres.

(c) Under [[50=>40]] minutes: red
(d) From 40 to 60 minutes: yellow
(e) Over 60 minutes, or no time yet: blue

Club and sex make no difference. Write the colour alone, in lower case.

Entry: {entry}""",
        (
            (
                ("Aged 29, takes part in a wheelchair, best time 65 minutes.", "white", "red"),
                ("Wheelchair, 45 years old, no time yet.", "white", "red"),
                ("I am 16 and I come with my racing wheelchair.", "white", "red"),
            ),
            (
                ("Student of 19 years, best time 55 minutes.", "yellow", "green"),
                ("20 years old, no time yet.", "blue", "green"),
                ("I turned 18 in spring, my best time is 70 minutes.", "blue", "green"),
            ),
            (
                ("Aged 30, best time 44 minutes.", "yellow", "red"),
                ("Man of 52, ran his best ten kilometres in 47 minutes.", "yellow", "red"),
                ("Woman of 27, Harriers club, best time 41 minutes.", "yellow", "red"),
            ),
        ),
        (
            ("Boy of 12, no time yet.", "green"),
            ("Aged 33, best time 38 minutes.", "red"),
            ("51 years old, never ran a race before.", "blue"),
        ),
    ),
    Planted(
        "juice-log",
        "routing",
        "en",
        """## Task
The night shift of a factory that bottles juice writes short entries into a log. In the morning each entry is passed on
to one group, which has to act before noon. Read the entry and name the group.

## Groups
* Belts, pumps and filling heads that jam or leak: mechanics
* Fuses, cables and sensors: electrics
* Juice that tastes, smells or looks wrong: [[stores=>lab]]
* Caps, labels or cartons that run out: [[planning=>stores]]
* Orders that will not be ready in time: planning
* Slippery floors, cuts and burns: [[electrics=>safety]]

## Rules
1. If a person was hurt, nothing else in the entry counts.
2. An entry that says that all went well is answered with archive.
3. The shift often names a line or a tank; the number does not change the group.
4. The day shift has already been told about broken bottles, so look at the rest of the entry.

## Answer
The group in lower case, without a star and without a full stop.

## Entry
{entry}""",
        (
            (
                ("The apple juice in tank 3 smells of vinegar.", "lab", "stores"),
                ("Orange juice from line 1 looks brown.", "lab", "stores"),
                ("Batch 614 tastes far too sour.", "lab", "stores"),
            ),
            (
                ("We ran out of blue caps at two o'clock.", "stores", "planning"),
                ("No cartons left for the litre bottles.", "stores", "planning"),
                ("Line 2: the labels for pear juice have run out.", "stores", "planning"),
            ),
            (
                ("The floor next to line 2 is slippery, Jan almost fell.", "safety", "electrics"),
                ("Mia burned her hand on the steam pipe.", "safety", "electrics"),
                ("Tom cut his finger on a knife.", "safety", "electrics"),
            ),
        ),
        (
            ("The belt of line 4 jammed twice.", "mechanics"),
            ("The order for Bergen will be a day late.", "planning"),
            ("A fuse blew at 3:10, we changed it.", "electrics"),
        ),
    ),
)
"""Sixteen prompts, 48 faults."""
