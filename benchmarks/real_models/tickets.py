"""A ticket prompt with four wrong rules, and 160 short messages whose queue is known.

Written for this benchmark before the first run on it, and not changed after that.
"""

from __future__ import annotations

from typing import Any

WRONG = """You sort messages to an online shop into queues.
The queues are: billing, shipping, returns, technical, account, sales, legal, praise.

Rules:
- Invoices, charges and payments belong to billing.
- A parcel that is late, lost or at the wrong address belongs to returns.
- Things that the customer wants to send back or exchange belong to shipping.
- An app or a page that does not work belongs to technical.
- Passwords, logins and changes of personal details belong to sales.
- Offers, discounts and large orders for companies belong to account.
- Data protection, contracts and threats of a lawsuit belong to legal.
- Thanks and compliments belong to praise.

Answer with the name of one queue and nothing else.

Message: {message}"""
"""Four of the eight rules name the wrong queue."""

RIGHT = (
    WRONG.replace("wrong address belongs to returns", "wrong address belongs to shipping")
    .replace("send back or exchange belong to shipping", "send back or exchange belong to returns")
    .replace("personal details belong to sales", "personal details belong to account")
    .replace("large orders for companies belong to account", "large orders for companies belong to sales")
)
"""What a perfect search would arrive at."""

_MESSAGES = {
    "billing": """My card was charged twice for one order.
The invoice shows the wrong tax number.
Why did I pay 49 euros when the page said 39?
Please send me the receipt for last month.
The direct debit went through although I cancelled.
Can I pay this bill in three instalments?
There is a fee on my statement that I do not understand.
Your payment reminder came after I had paid.
I need the invoice made out to my husband.
The voucher was not taken off the total.
Which currency will my credit card be billed in?
My bank says that you tried to collect the money three times.
The amount on the bill does not match the order.
I paid by transfer and still get reminders.
Is VAT included in the sum you charged?
Please correct the billing address on invoice 8812.
I was billed for a subscription that ended in May.
When will you debit my account for order 5530?
The receipt lists an item that I never bought.
PayPal took the payment but you say it is open.""",
    "shipping": """My parcel has been stuck in Leipzig for six days.
The courier left the box with a stranger.
Tracking says delivered, but nothing is here.
Where is my order? It should have come on Monday.
You sent the package to my old street.
Can the delivery be moved to Friday?
The driver never rang the bell and drove off.
My parcel went to a town that I have never been to.
It has been two weeks and the box has not arrived.
The tracking number does not show any movement.
Half of the boxes came, the other half is missing on the way.
How long does delivery to Norway take?
The carrier says the address label cannot be read.
I will be away, please have the parcel kept at the depot.
The package seems to have been lost by the courier.
Why is my express delivery later than the normal one?
The parcel shop has no idea where my box is.
Our delivery is at the neighbours, who have moved away.
The shipment is held at customs, what now?
Nobody brought the parcel although I waited all day.""",
    "returns": """The shoes are too small, I want the next size.
How do I send the lamp back?
I changed my mind and would like to give the blender back.
Please send me a label so that I can return the coat.
The blue one is not my colour, can I swap it for green?
I got two of these as a gift, one can go back to you.
Until when may I send back a birthday present?
The dress does not fit, please exchange it for a 42.
The chair wobbles, I want to hand it back.
Can I bring the jacket back to your shop in town?
I would like to trade the red case for a black one.
Where do I drop the box with the things I do not keep?
I do not need the second keyboard and want to return it.
The carpet looks different at home, I am sending it back.
Do you take back opened headphones?
My son hates the toy, can we exchange it?
The return form asks for a number that I do not have.
Please swap the medium shirt for a large one.
I sent the trousers back a week ago, did they reach you?
The mattress is too hard for us, how do we give it back?""",
    "technical": """The app closes when I open the basket.
Your page stays white in Firefox.
The search box gives an error 500.
Pictures do not load on my phone.
The button to order does nothing when I press it.
Since the update the app freezes at the start.
The filter for sizes shows an empty list.
I get a message that the server cannot be reached.
The website is terribly slow and then times out.
The camera scanner in your app shows only black.
Videos on product pages stop after two seconds.
The app drains my battery within an hour.
Your newsletter link leads to a page that does not exist.
The dark mode makes the text invisible.
Notifications of the app come ten times in a row.
The map with your shops does not open.
The page jumps back to the top whenever I scroll.
The chat window covers the whole screen and cannot be closed.
The app says no connection though my wifi works.
The size table is cut off on my tablet.""",
    "account": """I forgot my password and the mail does not come.
Please change my surname, I got married.
How do I sign in with a new phone number?
My login is locked after three tries.
I want to use another e-mail address from now on.
Please update my home address in your records.
Two-step login sends the code to my old phone.
How can I close my user profile?
Someone else seems to have logged in as me.
I have two profiles, please merge them.
The link to reset my password has expired.
Please remove my old telephone number from my profile.
My date of birth is wrong in your system.
I cannot log in since I changed my e-mail.
Where do I change my user name?
My profile still shows the name of my ex-husband.
How do I make a new password?
I no longer know which e-mail I signed up with.
Please unlock my login.
I want to sign out on all my devices.""",
    "sales": """We need 200 chairs, what price can you make?
Is there a discount for schools?
Please send us a quote for forty laptops.
Do companies get better terms above 10,000 euros?
Our office would like an offer for desks on three floors.
Is there a price list for resellers?
What does it cost if our firm takes a thousand mugs?
Do you give a discount if we order every month?
We are a hotel and want an offer for 80 lamps.
Could someone from your team visit us about a large order?
How much is the bulk price for printer paper?
Can our club get a special price for fifty shirts?
We would buy the whole stock if the price is right.
Do you have a framework offer for public authorities?
What is your best offer for 25 monitors?
Is there a student discount?
Our company wants to compare your offer with others.
Please call me about equipment for a new restaurant.
Would you lower the price if we take two pallets?
We plan to furnish a hospital and need a proposal.""",
    "legal": """Delete all data that you store about me, as the law says.
My lawyer will write to you next week.
Which personal data do you pass on to partners?
I demand a copy of everything you have stored about me.
The terms of the contract were changed without my consent.
If this goes on, we will see each other in court.
Who is your data protection officer?
I object to the use of my data for advertising.
Your contract has a clause that is not allowed.
I am going to sue you for damages.
I withdraw my consent to the processing of my data.
Please confirm the end of the contract in writing.
Is it legal that you track me on other pages?
The police asked me for a statement about your company.
You used my photo without permission, my solicitor is informed.
How long do you keep personal data after a purchase?
We send you this formal notice for breach of contract.
I will report you to the consumer protection authority.
Please send the contract for processing data on our behalf.
Your firm infringes our trademark.""",
    "praise": """Thank you, everything was perfect!
Your team is so friendly, keep it up.
Best shop I have ever used.
The young man on the phone was wonderful.
I just wanted to say how happy I am with the sofa.
What lovely packing, it made my day.
Five stars from me.
You solved my problem in minutes, thanks a lot.
Great quality for the price, I am delighted.
My compliments to the people in the warehouse.
I have been a customer for ten years and love you.
Thanks for the little note in the box.
Please tell Anna that she was a great help.
I will recommend you to all my friends.
The coffee machine is fantastic, thank you.
So quick and so kind, I am impressed.
It is a pleasure to shop with you.
Thanks to you the birthday was saved.
Wonderful service, nothing to complain about.
The cake tins are beautiful, well done.""",
}
_SPLITS = ("test", "train", "test", "dev")
"""Of four messages of a queue: two for the test, one each for train and dev."""


def examples() -> list[dict[str, Any]]:
    """All messages with their queues and splits: 40 train, 40 dev, 80 test."""
    found = []
    for queue, texts in _MESSAGES.items():
        for i, text in enumerate(texts.splitlines()):
            row = {"inputs": {"message": text}, "outputs": {"answer": queue}}
            found.append({"id": f"{queue}-{i:02}", **row, "split": _SPLITS[i % 4]})
    return found
