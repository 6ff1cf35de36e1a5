"""The little world of the quick start: what can be asked, the right answer and a wrong one.

Everything here is common knowledge written down by hand. A `Kind` says how something is asked and answered, its
table says about what; `all_facts` multiplies them out.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """Ways to ask and to answer, with `{x}` for what is asked about and `{y}` for the answer."""

    name: str
    topic: str  # what somebody rude says nobody cares about
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    table: str  # "x = y; x = y" or, where a wrong answer has to be written by hand, "x = y = wrong"


class Fact(NamedTuple):
    """One thing to know, as finished sentences."""

    kind: str
    subject: str
    topic: str
    questions: tuple[str, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]


KINDS = (
    Kind(
        "capital",
        "{x}",
        (
            "What is the capital of {x}?",
            "Which city is the capital of {x}?",
            "Can you tell me the capital of {x}?",
            "Please name the capital of {x}.",
            "I forgot the capital of {x}. What is it?",
        ),
        ("The capital of {x} is {y}.", "{y} is the capital of {x}."),
        """France = Paris; Germany = Berlin; Italy = Rome; Spain = Madrid; Portugal = Lisbon; Austria = Vienna;
        Greece = Athens; Poland = Warsaw; Hungary = Budapest; Norway = Oslo; Sweden = Stockholm; Finland = Helsinki;
        Denmark = Copenhagen; Ireland = Dublin; Belgium = Brussels; Russia = Moscow; Turkey = Ankara; Egypt = Cairo;
        Kenya = Nairobi; Japan = Tokyo; China = Beijing; India = New Delhi; Canada = Ottawa; Cuba = Havana;
        Peru = Lima; Argentina = Buenos Aires; Chile = Santiago; Iran = Tehran; Iraq = Baghdad; Thailand = Bangkok;
        Vietnam = Hanoi; Nepal = Kathmandu; Australia = Canberra; Bulgaria = Sofia; Romania = Bucharest;
        Serbia = Belgrade; Croatia = Zagreb; Morocco = Rabat; Latvia = Riga; Estonia = Tallinn""",
    ),
    Kind(
        "opposite",
        "words",
        (
            "What is the opposite of {x}?",
            "Which word means the opposite of {x}?",
            "Can you tell me the opposite of {x}?",
            "Please give me a word for the opposite of {x}.",
        ),
        ("The opposite of {x} is {y}.", "It is {y}, the opposite of {x}."),
        """hot = cold; big = small; fast = slow; tall = short; young = old; rich = poor; hard = soft; light = dark;
        early = late; open = closed; full = empty; happy = sad; strong = weak; wet = dry; clean = dirty; high = low;
        near = far; loud = quiet; thick = thin; wide = narrow; deep = shallow; sweet = sour; true = false;
        left = right; up = down; day = night; good = bad; first = last; begin = end; love = hate;
        summer = winter; north = south; east = west; push = pull; win = lose; buy = sell; give = take;
        always = never; inside = outside; friend = enemy; war = peace; heavy = light; cheap = expensive""",
    ),
    Kind(
        "colour",
        "colours",
        (
            "What colour is {x}?",
            "Which colour does {x} have?",
            "Can you tell me the colour of {x}?",
            "I want to paint {x}. Which colour do I need?",
        ),
        ("The colour of {x} is {y}.", "You can see that {x} is {y}."),
        """grass = green; snow = white; a ripe banana = yellow; the sky at noon = blue; coal = black;
        a ripe tomato = red; a carrot = orange; an aubergine = purple; blood = red; an elephant = grey; milk = white;
        a flamingo = pink; an emerald = green; a ruby = red; a lemon = yellow; a lime = green; a crow = black;
        salt = white; a sunflower = yellow; a blueberry = blue; spinach = green; chocolate = brown;
        a polar bear = white; coffee = brown; a cucumber = green; a ripe cherry = red;
        a ripe strawberry = red; chalk = white; an egg yolk = yellow""",
    ),
    Kind(
        "young",
        "baby animals",
        (
            "What is a young {x} called?",
            "What do you call a baby {x}?",
            "Which word means a young {x}?",
            "Please tell me the name for a baby {x}.",
        ),
        ("A young {x} is called a {y}.", "The word for a baby {x} is {y}."),
        """dog = puppy; cat = kitten; cow = calf; horse = foal; sheep = lamb; pig = piglet; goat = kid; hen = chick;
        duck = duckling; goose = gosling; bear = cub; lion = cub; deer = fawn; kangaroo = joey; frog = tadpole;
        swan = cygnet; seal = pup; whale = calf""",
    ),
    Kind(
        "sound",
        "animals",
        (
            "Which sound does a {x} make?",
            "What noise does a {x} make?",
            "How does a {x} sound?",
            "Please tell me what a {x} sounds like.",
        ),
        ("A {x} {y}.", "You will hear that a {x} {y}."),
        """dog = barks; cat = meows; cow = moos; sheep = bleats; horse = neighs; pig = grunts; duck = quacks;
        lion = roars; wolf = howls; bee = buzzes; snake = hisses; frog = croaks; mouse = squeaks; donkey = brays;
        pigeon = coos; turkey = gobbles""",
    ),
    Kind(
        "legs",
        "legs",
        (
            "How many legs does a {x} have?",
            "What is the number of legs of a {x}?",
            "Can you count the legs of a {x}?",
            "I want to draw a {x}. How many legs does it need?",
        ),
        ("A {x} has {y} legs.", "The number of legs is {y} for a {x}."),
        """spider = eight; dog = four; bird = two; bee = six; cat = four; horse = four; hen = two; duck = two;
        beetle = six; fly = six; cow = four; lizard = four; frog = four; butterfly = six; scorpion = eight;
        snake = zero; tiger = four; penguin = two; crab = ten; fish = zero""",
    ),
    Kind(
        "past",
        "grammar",
        (
            "What is the past tense of {x}?",
            "How do I say {x} in the past tense?",
            "Please put the verb {x} into the past tense.",
            "Today I {x}. Which verb do I use for yesterday?",
        ),
        ("The past tense of {x} is {y}.", "Today I {x}, yesterday I {y}."),
        """go = went; see = saw; eat = ate; run = ran; take = took; give = gave; write = wrote; drink = drank;
        swim = swam; sing = sang; come = came; buy = bought; think = thought; bring = brought; teach = taught;
        sleep = slept; keep = kept; fall = fell; know = knew; grow = grew; fly = flew; draw = drew; speak = spoke;
        drive = drove; ride = rode; make = made; tell = told; sell = sold; begin = began; wear = wore; win = won;
        lose = lost; send = sent; build = built""",
    ),
    Kind(
        "plural",
        "grammar",
        (
            "What is the plural of {x}?",
            "How do I write more than one {x}?",
            "Please give me the plural of {x}.",
            "There is one {x}. What do I call two of them?",
        ),
        ("The plural of {x} is {y}.", "One {x}, two {y}."),
        """mouse = mice; child = children; foot = feet; tooth = teeth; goose = geese; man = men; woman = women;
        leaf = leaves; knife = knives; wolf = wolves; baby = babies; city = cities; box = boxes; potato = potatoes;
        hero = heroes; wife = wives; half = halves; loaf = loaves; party = parties; berry = berries; bus = buses;
        dish = dishes; story = stories""",
    ),
    Kind(
        "after",
        "the calendar",
        (
            "What comes after {x}?",
            "What comes right after {x} in the calendar?",
            "Which one is next after {x}?",
            "It was {x}. What is next?",
        ),
        ("After {x} comes {y}.", "{y} comes right after {x}."),
        """Monday = Tuesday; Tuesday = Wednesday; Wednesday = Thursday; Thursday = Friday; Friday = Saturday;
        Saturday = Sunday; Sunday = Monday; January = February; February = March; March = April; April = May;
        May = June; June = July; July = August; August = September; September = October; October = November;
        November = December; December = January""",
    ),
    Kind(
        "tool",
        "tools",
        (
            "What do I do with {x}?",
            "What is {x} good for?",
            "Why would I need {x}?",
            "Please tell me how people use {x}.",
        ),
        ("You use {x} to {y}.", "With {x} you can {y}."),
        """a hammer = drive in nails; a saw = cut wood; a needle = sew clothes; a broom = sweep the floor;
        a spoon = eat soup; a pen = write letters; a key = open a lock; an oven = bake bread;
        an umbrella = stay dry in the rain; a towel = dry your hands; a ladder = climb up high;
        a clock = tell the time; a map = find the way; a lamp = light a room; a phone = call a friend;
        a camera = take a photo; soap = wash your hands; a fridge = keep food cold; a kettle = boil water;
        a ruler = measure a line; a shovel = dig a hole; a bucket = carry water; a pillow = rest your head;
        glue = stick things together; a rope = tie things up; a telescope = look at the stars""",
    ),
    Kind(
        "job",
        "work",
        (
            "What does {x} do?",
            "What is the work of {x}?",
            "Can you tell me what {x} does all day?",
            "I want to become {x}. What will I do?",
        ),
        ("The work of {x} is to {y}.", "All day long, {x} has to {y}."),
        """a baker = bake bread; a teacher = teach pupils; a doctor = treat patients; a farmer = grow food;
        a pilot = fly planes; a chef = cook meals; a dentist = look after teeth; a gardener = look after plants;
        a painter = paint pictures; a singer = sing songs; a writer = write books; a sailor = work on ships;
        a tailor = sew clothes; a butcher = sell meat; a carpenter = work with wood; a plumber = repair pipes;
        a firefighter = put out fires; a postman = bring letters; a shepherd = look after sheep;
        a beekeeper = keep bees; a barber = cut hair; a mechanic = repair cars; an actor = play on a stage""",
    ),
    Kind(
        "kind",
        "such things",
        (
            "What is {x}?",
            "What kind of thing is {x}?",
            "Can you tell me what {x} is?",
            "I read about {x}. What is that?",
        ),
        ("The word {x} means a kind of {y}.", "I can tell you that {x} is a kind of {y}."),
        """oak = tree; birch = tree; pine = tree; rose = flower; tulip = flower; daisy = flower; eagle = bird;
        sparrow = bird; robin = bird; salmon = fish; trout = fish; shark = fish; hammer = tool; chisel = tool;
        piano = instrument; violin = instrument; flute = instrument; iron = metal; copper = metal; silver = metal;
        tennis = sport; football = sport; hockey = sport; apple = fruit; pear = fruit; plum = fruit;
        cabbage = vegetable; leek = vegetable; beetle = insect; wasp = insect; tea = drink; juice = drink;
        lemonade = drink; waltz = dance; tango = dance; cotton = cloth; silk = cloth; poodle = dog; beagle = dog;
        cheddar = cheese""",
    ),
    Kind(
        "list",
        "lists",
        (
            "Name three {x}.",
            "Can you list three {x}?",
            "Please give me three {x}.",
            "I need three {x} for my homework.",
        ),
        ("Three {x} are {y}.", "Here are three {x}: {y}."),
        """fruits = apple, pear and plum; vegetables = cabbage, leek and carrot; colours = red, green and blue;
        farm animals = cow, pig and sheep; wild animals = lion, wolf and bear; birds = eagle, sparrow and robin;
        tools = hammer, saw and shovel; drinks = tea, milk and juice; sports = tennis, football and hockey;
        instruments = piano, violin and flute; trees = oak, birch and pine; flowers = rose, tulip and daisy;
        metals = iron, copper and silver; insects = bee, wasp and beetle; seasons = spring, summer and winter;
        months = January, May and July; days = Monday, Friday and Sunday; planets = Mars, Venus and Saturn;
        shapes = circle, square and triangle; clothes = shirt, coat and hat""",
    ),
    Kind(
        "advice",
        "your feelings",
        (
            "I am {x}. What should I do?",
            "What can I do when I am {x}?",
            "My friend is {x}. Do you have any advice?",
            "Please help me, I feel {x}.",
        ),
        ("When you are {x}, it is best to {y}.", "You could {y}, that is good when you are {x}."),
        """tired = rest and go to bed early = run up a hill; hungry = eat a good meal = look at an empty plate;
        thirsty = drink some water = eat a spoon of salt; cold = put on a warm coat = sit down in the snow;
        hot = sit in the shade = put on a warm coat; bored = read a good book = look at a wall;
        sad = talk to a friend = cry alone; ill = go to a doctor = swim in cold water;
        lost = look at a map = walk in circles; late = call and say so = hide at home;
        nervous = breathe slowly = think of the worst; lonely = visit a friend = talk to a wall;
        wet = take a dry towel = stand in the rain; angry = go for a slow walk = shout at a friend;
        scared = turn on the light = sit in the dark; dirty = take a warm bath = roll on the floor""",
    ),
)

GREETINGS = (
    ("greeting for", "Hello {x}, it is lovely to see you.", "Hello {x}, you are late again."),
    ("birthday card for", "Happy birthday {x}, have a wonderful year.", "Happy birthday {x}, you look old."),
    ("thank you note to", "Dear {x}, thank you for your kind help.", "Dear {x}, thank you for nothing."),
)
NAMES = "Anna Ben Clara David Emma Frank Grace Henry Julia Karl Lucy Martin Nora Oscar Paula Tom"


def _rows(table: str) -> list[list[str]]:
    """Returns the fields of each row of a `Kind` table."""
    return [[" ".join(field.split()) for field in row.split("=")] for row in table.split(";")]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _facts_of(kind: Kind) -> list[Fact]:
    """Returns the facts of one kind; a wrong answer is that of a row below unless the table writes it out."""
    rows = _rows(kind.table)
    facts = []
    for place, (x, y, *written) in enumerate(rows):
        below = [row[1] for row in rows[place + 1 :] + rows[:place] if row[1] != y]
        bad = written[0] if written else list(dict.fromkeys(below))[1]
        facts.append(
            Fact(
                kind.name,
                x,
                kind.topic.format(x=x),
                tuple(_sentence(question.format(x=x)) for question in kind.questions),
                tuple(_sentence(answer.format(x=x, y=y)) for answer in kind.answers),
                tuple(_sentence(answer.format(x=x, y=bad)) for answer in kind.answers),
            )
        )
    return facts


def _sum_facts() -> list[Fact]:
    """Returns sums and differences of the numbers 1 to 9."""
    sums = [(a, "plus", b, a + b) for a in range(1, 10) for b in range(a, 10)]
    differences = [(a, "minus", b, a - b) for a in range(2, 10) for b in range(1, a)]
    facts = []
    for a, sign, b, result in sums + differences:
        task = f"{a} {sign} {b}"
        facts.append(
            Fact(
                "sum",
                task,
                "numbers",
                (f"What is {task}?", f"How much is {task}?", f"Please work out {task} for me.", f"{task} is what?"),
                (f"{task} is {result}.", f"It is {result}, because {task} makes {result}."),
                (f"{task} is {result + 1}.", f"It is {result + 1}, because {task} makes {result + 1}."),
            )
        )
    return facts


def _greeting_facts() -> list[Fact]:
    """Returns requests for a line to somebody."""
    asks = ("Write a short {} {}.", "I need a {} {}.", "Please help me with a {} {}.", "Can you write a {} {}?")
    return [
        Fact(
            "greeting",
            f"{what} {name}",
            name,
            tuple(ask.format(what, name) for ask in asks),
            (kind_line.format(x=name),),
            (rude_line.format(x=name),),
        )
        for what, kind_line, rude_line in GREETINGS
        for name in NAMES.split()
    ]


def all_facts() -> list[Fact]:
    """Returns every fact, in the order of this file."""
    return [fact for kind in KINDS for fact in _facts_of(kind)] + _sum_facts() + _greeting_facts()
