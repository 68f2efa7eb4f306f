"""A small picture for each theorem."""

from __future__ import annotations

from IPython.display import HTML

from drawing.svg import Svg

DNA = {"A": "a", "C": "b", "G": "b", "T": "a"}
PAIR = str.maketrans("ACGT", "TGCA")


def _strand(svg: Svg, x: float, y: float, word: str, size: float = 26) -> None:
    svg.cells(x, y, list(word), [DNA[w] for w in word], size=size)


def t1() -> HTML:
    svg = Svg(520, 150)
    word = "AACGT"
    other = word[::-1].translate(PAIR)
    svg.text(20, 33, "x", bold=True).text(20, 113, "ρx", bold=True)
    _strand(svg, 50, 20, word)
    _strand(svg, 50, 100, other)
    for i in range(5):
        svg.line(63 + i * 26, 46, 63 + (4 - i) * 26, 100, "mute", width=1)
    svg.text(300, 20, "stack(a, b)", bold=True).text(300, 128, "ρ stack(a, b) = stack(b, a)", bold=True)
    for y, top, bottom, one, two in ((34, "a", "ρb", "a", "b"), (84, "b", "ρa", "b", "a")):
        svg.box(235, y, 130, 15, top, one, size=11).box(235, y + 16, 130, 15, bottom, two, size=11)
    svg.arrow(390, 50, 390, 100).text(400, 75, "turn by 180°", anchor="start", size=12)
    return svg.show(
        "Left: the reverse complement reads the other strand. Right: half a turn of a strand pair swaps its strands."
    )


def t2() -> HTML:
    svg = Svg(560, 190)
    for x, words in ((20, "stack(a, b)"), (400, "stack(ga, gb)")):
        svg.box(x, 20, 140, 34, words, "a")
    for x, words in ((20, "stack(b, a)"), (400, "stack(gb, ga)")):
        svg.box(x, 130, 140, 34, words, "b")
    svg.arrow(160, 37, 398, 37).text(279, 24, "D(g): g on each strand")
    svg.arrow(160, 147, 398, 147).text(279, 164, "D(g)")
    svg.arrow(90, 54, 90, 128).text(78, 91, "ρ", anchor="end")
    svg.arrow(470, 54, 470, 128).text(482, 91, "ρ", anchor="start")
    svg.text(279, 92, "both ways round give the same", colour="mute")
    return svg.show("The square commutes for every map g: g never learns which strand is which.")


def t3() -> HTML:
    svg = Svg(560, 232)
    for row, (length, words, colour) in enumerate(
        ((7, "L = 7, K = 3, s = 2: r = 0, centred", "c"), (8, "L = 8, K = 3, s = 2: r = 1, not centred", "bad"))
    ):
        y = 24 + 108 * row
        svg.text(10, y - 8, words, anchor="start", size=12, colour=colour, bold=True)
        for line, mirrored in ((0, False), (1, True)):
            top = y + 6 + line * 40
            svg.cells(90, top, [str(i) for i in range(length)], ["fill"] * length, size=24)
            svg.text(
                80, top + 12, "windows on ρx" if mirrored else "windows on x", anchor="end", size=10, colour="mute"
            )
            for n in range((length - 3) // 2 + 1):
                start = length - 3 - 2 * n if mirrored else 2 * n
                ok = (start % 2 == 0) if row == 0 else False
                svg.line(
                    94 + 24 * start, top + 28 + 3 * (n % 2), 90 + 24 * (start + 3) - 4, top + 28 + 3 * (n % 2),
                    "c" if ok else ("b" if mirrored else "a"), width=3,
                )  # fmt: skip
    return svg.show(
        "Centred windows fall on the same positions from either end. "
        "With one position left over, the other strand's windows are other windows."
    )


def t4() -> HTML:
    svg = Svg(520, 176)
    values = [[0.9, 0.3, 0.6], [0.2, 0.75, 0.45]]
    svg.matrix(30, 50, values, [["a"] * 3] * 2, 30).text(75, 30, "V", bold=True)
    svg.text(75, 130, "free: F × C", colour="mute", size=11)
    svg.arrow(140, 80, 200, 80).text(170, 66, "tie")
    full = values + [row[::-1] for row in values[::-1]]
    svg.matrix(230, 20, full, [["a"] * 3] * 2 + [["b"] * 3] * 2, 30).text(275, 156, "tie(V) = W = ρW", bold=True)
    svg.arrow(345, 80, 405, 80).text(375, 66, "first half")
    svg.matrix(425, 50, values, [["a"] * 3] * 2, 30).text(470, 130, "V again", colour="mute", size=11)
    return svg.show(
        "The lower half of a tied matrix is the upper half turned by 180°, so half of the numbers say it all."
    )


def representation() -> Svg:
    """A conjoined network beside the RCPS network of the same function."""
    svg = Svg(600, 250)
    svg.text(150, 16, "conjoined", bold=True).text(450, 16, "RCPS, B = 0", bold=True)
    for x, name, colour in ((40, "x", "a"), (170, "ρx", "b")):
        svg.box(x, 30, 90, 26, name, colour)
        for i, words in enumerate(("W₁", "σ", "W₂")):
            svg.arrow(x + 45, 56 + 44 * i, x + 45, 72 + 44 * i).box(x, 74 + 44 * i, 90, 26, words)
        svg.arrow(x + 45, 188, 150, 212)
    svg.box(95, 214, 110, 28, "merge", "c")
    svg.box(400, 30, 100, 26, "x")
    for i, words in enumerate(("tie(W₁)", "σ", "tie([W₂, 0])")):
        svg.arrow(450, 56 + 44 * i, 450, 72 + 44 * i)
        svg.rect(380, 74 + 44 * i, 140, 13, "a", opacity=0.25).rect(380, 87 + 44 * i, 140, 13, "b", opacity=0.25)
        svg.rect(380, 74 + 44 * i, 140, 26, "none", edge="mute", r=2)
        svg.text(450, 87 + 44 * i, words, size=12)
    svg.arrow(450, 188, 450, 212).box(395, 214, 110, 28, "merge", "c")
    svg.text(300, 118, "=", size=26)
    return svg


def t5() -> HTML:
    return representation().show("Two runs of one network side by side are one run of a network with tied weights.")


def t6() -> HTML:
    svg = Svg(520, 200)
    svg.rect(10, 10, 500, 180, "b", opacity=0.12, edge="b", r=14).text(
        30, 30, "Conjoined with 2F filters", anchor="start"
    )
    svg.rect(60, 50, 400, 126, "c", opacity=0.16, edge="c", r=12).text(
        80, 70, "RCPS with F filters a strand", anchor="start"
    )
    svg.rect(110, 90, 230, 72, "a", opacity=0.2, edge="a", r=10).text(225, 126, "Conjoined with F filters")
    svg.circle(405, 126, 5, "bad", edge="none").text(405, 146, "g_F", size=12, colour="bad")
    return svg.show(
        "Both inclusions hold; the network g_F shows that the first is strict and that 2F cannot be lowered."
    )


def t7() -> HTML:
    svg = Svg(540, 330)
    names = [
        ("∅", 0, 3),
        ("1", -1, 2),
        ("2", 0, 2),
        ("3", 1, 2),
        ("1,2", -1, 1),
        ("1,3", 0, 1),
        ("2,3", 1, 1),
        ("1,2,3", 0, 0),
    ]
    place = {n: (270 + 150 * dx, 30 + 85 * row) for n, dx, row in names}
    sets = {n: set() if n == "∅" else set(n.split(",")) for n, _, _ in names}
    for one, small in sets.items():
        for two, large in sets.items():
            if small < large and len(large) == len(small) + 1:
                svg.line(*place[one], *place[two], "mute", width=1.2)
    for name, (x, y) in place.items():
        colour = "a" if name == "∅" else "c" if len(sets[name]) == 3 else "fill"
        svg.rect(x - 42, y - 16, 84, 32, "fill", edge="none", r=5)
        svg.box(x - 42, y - 16, 84, 32, f"{{{name}}}" if name != "∅" else "∅", colour)
    svg.text(330, 30, "all coupled: RCPS", anchor="start", size=12).text(
        330, 285, "none: conjoined", anchor="start", size=12
    )
    return svg.show(
        "The sets S of coupled layers of a network with three: going up adds functions and never takes any away."
    )


def t8() -> HTML:
    svg = Svg(520, 190)
    svg.line(60, 160, 480, 160, "mute").text(470, 176, "A", colour="mute")
    svg.line(60, 160, 60, 20, "mute").text(44, 24, "B", colour="mute")
    svg.text(270, 176, "B = 0: the conjoined networks", colour="a", size=12)
    svg.line(60, 160, 480, 160, "a", width=3)
    svg.circle(180, 160, 5, "ink", edge="none").text(180, 142, "θ", size=14)
    svg.arrow(180, 160, 280, 160, "a", width=2.4).text(
        290, 146, "∂loss/∂A = conjoined gradient", size=11, anchor="start", colour="a"
    )
    svg.arrow(180, 160, 280, 62, "c", width=2.4).text(
        290, 58, "the whole RCPS gradient", size=11, anchor="start", colour="c"
    )
    svg.line(280, 160, 280, 66, "mute", dash="4 4").text(
        288, 108, "∂loss/∂B, in general not 0", size=11, anchor="start", colour="mute"
    )
    return svg.show("Seen along the conjoined networks the two gradients are one; RCPS has directions to leave them.")


def t9() -> HTML:
    svg = Svg(520, 220)
    curve = [(60 + 4 * t, 190 - 0.0115 * (t - 36) ** 2 * 2.3 - 14) for t in range(104)]
    svg.path(curve, "a", width=2.2)
    (ux, uy), (vx, vy) = curve[14], curve[92]
    svg.line(ux, uy, vx, vy, "b", width=1.8, dash="5 4")
    mx = (ux + vx) / 2
    low = min(curve, key=lambda p: abs(p[0] - mx))
    svg.line(mx, (uy + vy) / 2, mx, low[1], "bad", width=2.4)
    for x, y, words in ((ux, uy, "ℓ(u)"), (vx, vy, "ℓ(v)")):
        svg.circle(x, y, 4, "ink", edge="none").text(x - 10, y - 12, words, anchor="end" if x == vx else "start")
    svg.circle(mx, (uy + vy) / 2, 4, "b", edge="none").text(
        mx - 10, (uy + vy) / 2 - 10, "mean of the losses", anchor="end", size=12, colour="b"
    )
    svg.circle(mx, low[1], 4, "a", edge="none").text(
        mx + 10, low[1] + 14, "loss of the mean", anchor="start", size=12, colour="a"
    )
    svg.text(mx - 8, (low[1] + (uy + vy) / 2) / 2 + 4, "gap ≥ 0", anchor="end", size=12, colour="bad")
    return svg.show("A chord of a convex function lies above it: the gap is what post-hoc conjoining gains.")


def t10() -> HTML:
    svg = Svg(540, 170)
    svg.text(130, 16, "pooled: one mean of all 2N strands", bold=True, size=12)
    svg.text(410, 16, "two passes: one after the other", bold=True, size=12)
    for i in range(4):
        svg.rect(40 + 46 * i, 34, 40, 22, "a", opacity=0.3, edge="a").rect(
            40 + 46 * i, 60, 40, 22, "b", opacity=0.3, edge="b"
        )
    svg.line(40, 92, 220, 92, "c", width=3).text(
        130, 112, "mean of 8: which strand is given cannot matter", size=11, colour="c"
    )
    for i in range(4):
        svg.rect(300 + 30 * i, 48, 26, 22, "a", opacity=0.3, edge="a").rect(
            430 + 26 * i, 48, 22, 22, "b", opacity=0.3, edge="b"
        )
    svg.arrow(360, 80, 360, 104, "a").arrow(480, 80, 480, 104, "b")
    svg.text(360, 118, "weight k(1−k)", size=11, colour="a").text(480, 118, "weight k", size=11, colour="b")
    svg.text(410, 146, "the second pass counts for more", size=11, colour="bad")
    return svg.show(
        "In training, statistics over both strands at once are symmetric; an exponential average of two passes is not."
    )


def t11() -> HTML:
    svg = Svg(560, 190)
    block = [[0.9, 0.35, 0.6, 0.2], [0.15, 0.7, 0.45, 0.8], [0.8, 0.45, 0.7, 0.15], [0.2, 0.6, 0.35, 0.9]]
    svg.matrix(30, 30, block, [["a"] * 4] * 2 + [["b"] * 4] * 2, 30).text(
        90, 168, "W = ρW on stacked channels", size=12
    )
    svg.arrow(175, 90, 265, 90).text(220, 70, "x⁺ = x + ρx", size=12).text(220, 110, "x⁻ = x − ρx", size=12)
    f = 2
    plus = [[(block[o][c] + block[o][3 - c]) / 1.7 for c in range(f)] + [0, 0] for o in range(f)]
    minus = [[0, 0] + [block[o][c] - block[o][3 - c] for c in range(f)] for o in range(f)]
    svg.matrix(300, 30, plus + minus, [["c"] * 4] * 2 + [["bad"] * 4] * 2, 30)
    svg.text(435, 60, "trivial → trivial", anchor="start", size=12, colour="c")
    svg.text(435, 120, "sign → sign", anchor="start", size=12, colour="bad").text(360, 168, "block diagonal", size=12)
    return svg.show(
        "In sums and differences of the strands an equivariant matrix has two blocks. Dots mark negative entries."
    )


def t12() -> HTML:
    svg = Svg(540, 150)
    svg.line(40, 80, 500, 80, "mute").circle(270, 80, 5, "ink", edge="none").text(
        270, 100, "the exact answer f(x), of both", size=12
    )
    svg.line(170, 60, 370, 60, "a", width=3).text(270, 46, "conjoined: ± e_C", size=12, colour="a")
    svg.line(120, 118, 420, 118, "b", width=3).text(270, 134, "RCPS: ± e_R", size=12, colour="b")
    svg.circle(225, 80, 4, "a", edge="none").text(225, 68, "fl(C)", size=11, colour="a")
    svg.circle(340, 80, 4, "b", edge="none").text(340, 92, "fl(R)", size=11, colour="b")
    return svg.show(
        "Both computed answers lie near the one exact answer, so they cannot lie further apart than e_C + e_R."
    )


def t13() -> HTML:
    svg = Svg(540, 130)
    svg.text(110, 16, "plain cat of two stacked tensors", bold=True, size=12).text(
        400, 16, "cat that keeps the pairs", bold=True, size=12
    )
    for x, rows in (
        (60, (("a", "a"), ("ρb", "b"), ("a′", "a"), ("ρb′", "b"))),
        (350, (("a", "a"), ("a′", "a"), ("ρb′", "b"), ("ρb", "b"))),
    ):
        for i, (words, colour) in enumerate(rows):
            svg.box(x, 28 + 23 * i, 100, 21, words, colour, size=11)
    svg.text(175, 62, "turned by 180°,", anchor="start", size=11, colour="bad").text(
        175, 78, "ρb falls on a′", anchor="start", size=11, colour="bad"
    )
    svg.text(465, 62, "turned by 180°,", anchor="start", size=11, colour="c").text(
        465, 78, "ρb falls on a", anchor="start", size=11, colour="c"
    )
    return svg.show("One of the refuted statements: it looks harmless and pairs the wrong strands.")
