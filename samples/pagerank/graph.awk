# graph.awk - writes the edges of a graph as input lines, then what starts each vertex; or what asks each for its rank.
# SPDX-License-Identifier: Apache-2.0
# awk -f samples/pagerank/graph.awk samples/pagerank/depends.txt
# awk -v report=1 -f samples/pagerank/graph.awk samples/pagerank/depends.txt
# A line of the graph is two names; # starts a comment.

/^#/ || NF == 0 { next }
NF != 2 { print FILENAME ":" FNR ": not two names" > "/dev/stderr"; exit 1 }
{
    for (i = 1; i <= 2; i++) if (!($i in known)) { known[$i] = 1; names[++count] = $i }
    if (!report) print "{\"to\":\"graph/vertex/" $1 "\",\"type\":\"edge\",\"body\":{\"to\":\"" $2 "\"}}"
}
END {
    for (i = 1; i <= count; i++)
        print "{\"to\":\"graph/vertex/" names[i] "\",\"type\":\"" (report ? "report" : "start") "\",\"body\":{}}"
}
