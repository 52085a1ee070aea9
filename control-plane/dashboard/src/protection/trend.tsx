// How the fleet stood in the last 30 days: a picture, and the same as a table for whoever does not see it.
import "uplot/dist/uPlot.min.css";
import { Table, Text, useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef } from "react";
import UPlot from "uplot";
import { useFormatter, useTranslations } from "use-intl";
import type { Schemas } from "../api/client";
import { Scroll } from "../kit/parts";
import { trend } from "./judge";

export default function Trend({
  days,
  now,
}: {
  days: readonly Schemas["Day"][];
  now: { at: number; boxes: number; bad: number };
}) {
  const t = useTranslations("protection");
  const format = useFormatter();
  const percent = (value: number) => format.number(value / 100, { style: "percent", maximumFractionDigits: 1 });
  const today = (100 * (now.boxes - now.bad)) / now.boxes;
  const points = [...trend(days), { at: now.at, percent: today }];
  return (
    <>
      <Text size="sm" c="dimmed">
        {t("trendText")}. {t("trendToday", { percent: percent(today) })}
      </Text>
      {points.length > 1 ? <Picture points={points} /> : <Text size="sm">{t("trendEmpty")}</Text>}
      {days.length > 0 && (
        <details>
          <summary>{t("trendTable")}</summary>
          <Scroll label={t("trendTable")}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>{t("day")}</Table.Th>
                  <Table.Th>{t("protectedBoxes")}</Table.Th>
                  <Table.Th>{t("boxes")}</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {days.toReversed().map((day) => (
                  <Table.Tr key={day.day_ms}>
                    <Table.Td>{format.dateTime(day.day_ms, { dateStyle: "medium", timeZone: "UTC" })}</Table.Td>
                    <Table.Td>{format.number(day.protected)}</Table.Td>
                    <Table.Td>{format.number(day.boxes)}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Scroll>
        </details>
      )}
    </>
  );
}

function Picture({ points }: { points: readonly { at: number; percent: number }[] }) {
  const place = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme("light");
  const format = useFormatter();
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const [ink, grid] = scheme === "dark" ? ["#c9d1d9", "#343a40"] : ["#495057", "#dee2e6"];
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const plot = new UPlot(
      {
        width: element.clientWidth,
        height: 180,
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: [0, 100] } },
        series: [{}, { stroke: scheme === "dark" ? "#74c0fc" : "#1864ab", width: 2, points: { show: true, size: 5 } }],
        axes: [
          {
            ...axis,
            values: (_, ticks) => ticks.map((tick) => format.dateTime(tick * 1000, { day: "numeric", month: "short" })),
          },
          { ...axis, values: (_, ticks) => ticks.map((tick) => format.number(tick / 100, { style: "percent" })) },
        ],
      },
      [points.map((point) => point.at / 1000), points.map((point) => point.percent)],
      element,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: 180 }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [points, scheme, format]);
  return <div ref={place} aria-hidden />;
}
