/* The cluster: who votes, and where each voter stands.
 *
 * Voters are numbered from 0: the data nodes of site A, then those of site B, then the witness, if there
 * is one. So 1+1+1 is A1=0 B1=1 W=2, and 2+2+1 is A1=0 A2=1 B1=2 B2=3 W=4. check.sh turns the numbers back
 * into these names when it tells a counterexample.
 *
 * The shape and the bounds of the search come from the command line:
 *   -DDATA_A=1 -DDATA_B=1 -DWITNESSES=1    voters at site A, at site B, elsewhere (0 or 1)
 *   -DTERMS=3                              elections, the first leader's included
 *   -DENTRIES=3                            entries in the longest log
 */
#ifndef DATA_A
#define DATA_A 1
#endif
#ifndef DATA_B
#define DATA_B 1
#endif
#ifndef WITNESSES
#define WITNESSES 1
#endif
#ifndef TERMS
#define TERMS 3
#endif
#ifndef ENTRIES
#define ENTRIES 3
#endif

#define DATA_NODES (DATA_A + DATA_B)
#define NODES      (DATA_NODES + WITNESSES)
#define MAJORITY   (NODES / 2 + 1)

#define SITE_A     0
#define SITE_B     1
#define ELSEWHERE  2
#define PLACE(n)   ((n) < DATA_A -> SITE_A : ((n) < DATA_NODES -> SITE_B : ELSEWHERE))
#define IS_DATA(n) ((n) < DATA_NODES)

/* The check of a configuration. Without it, one site commits alone and calls it "both sites". */
#ifdef PLANT_NO_SHAPE_CHECK
#define SHAPE_REFUSED 0
#else
#define SHAPE_REFUSED (DATA_A >= MAJORITY || DATA_B >= MAJORITY)
#endif
