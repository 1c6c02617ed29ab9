<?php
// Sessions and updates drawn at random, with objects and references in them, and what the original's
// gateway makes of each pair: lines of JSON with `session`, `update` and `merged`, all three serialized
// and in hex; `merged` is null where it throws. Arguments: a seed and a number.
[, $seed, $count] = $argv;
mt_srand((int) $seed);

class Point
{
    public $x;
    protected $near;
    private $own;

    public function __construct($x, $near, $own) { [$this->x, $this->near, $this->own] = [$x, $near, $own]; }
}

enum Suit: string { case Hearts = 'h'; case Spades = 's'; }

/** An array of up to four elements. `$variables` are those that others may refer to. */
function drawn(int $depth, array &$variables, array &$objects): array
{
    $array = [];
    for ($n = mt_rand(0, 4); $n > 0; $n--) {
        $key = ['a', 'b', 'c', 0, 1, 7, '07', ''][mt_rand(0, 7)];
        unset($array[$key]);
        $kind = mt_rand(0, 11);
        if ($kind === 0 && $variables) {
            $array[$key] = &$variables[array_rand($variables)];
            continue;
        }
        if ($kind === 1 && $objects) {
            $array[$key] = $objects[array_rand($objects)];
            continue;
        }
        $array[$key] = value($depth, $variables, $objects);
        // Only now that it has its value. Of an array that holds itself serialize() writes a null where
        // array_replace_recursive() has made a copy of it; ours does not lose it.
        if (mt_rand(0, 1) === 0) $variables[] = &$array[$key];
    }
    return $array;
}

function value(int $depth, array &$variables, array &$objects): mixed
{
    $inner = function () use ($depth, &$variables, &$objects) { return $depth > 0 ? drawn($depth - 1, $variables, $objects) : []; };
    switch (mt_rand(0, 8)) {
        case 0: return [null, true, false][mt_rand(0, 2)];
        case 1: return mt_rand(-5, 5);
        case 2: return [0.1, -0.0, 1e22, 117.63331139400017, INF][mt_rand(0, 4)];
        case 3: return ['', "\0\xff", 'text', '"};'][mt_rand(0, 3)];
        case 4:
            $object = mt_rand(0, 1) ? (object) $inner() : new Point($inner(), mt_rand(0, 9), $inner());
            return $objects[] = $object;
        default: return $inner();
    }
}

/** One serialized session. */
function session(): string
{
    $variables = $objects = [];
    $session = drawn(4, $variables, $objects);
    return serialize($session);
}

for ($n = 0; $n < (int) $count; $n++) {
    [$stored, $update] = [session(), session()];
    try {
        // As the original does: Gateway::onWorkerMessage, CMD_UPDATE_SESSION.
        $session = unserialize($stored);
        $session_for_merge = unserialize($update);
        $session = array_replace_recursive($session, $session_for_merge);
        $merged = bin2hex(serialize($session));
    } catch (Throwable) {
        $merged = null;
    }
    echo json_encode(['session' => bin2hex($stored), 'update' => bin2hex($update), 'merged' => $merged]), "\n";
}
